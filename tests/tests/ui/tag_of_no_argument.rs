use cacheness::cached;

#[cached(tags("all", "user:{user_id}"))]
fn f(user: u32) -> u32 {
    user
}

fn main() {
    f(1);
}
