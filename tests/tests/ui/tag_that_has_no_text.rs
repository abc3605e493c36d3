use cacheness::cached;

struct User;

#[cached(skip(user), tags(user))]
fn f(user: User) -> u32 {
    1
}

fn main() {
    f(User);
}
