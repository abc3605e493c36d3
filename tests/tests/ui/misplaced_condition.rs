use cacheness::cached;

#[cached(|n: &u32| *n > 0, ttl = 60)]
fn f(n: u32) -> u32 {
    n
}

fn main() {
    f(1);
}
