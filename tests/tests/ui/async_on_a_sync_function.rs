use cacheness::cached;

#[cached(async, ttl = 60)]
fn f(n: u32) -> u32 {
    n
}

fn main() {
    f(1);
}
