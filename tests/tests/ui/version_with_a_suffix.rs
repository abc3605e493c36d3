use cacheness::cached;

#[cached(version = 2b)]
fn f(n: u32) -> u32 {
    n
}

fn main() {
    f(1);
}
