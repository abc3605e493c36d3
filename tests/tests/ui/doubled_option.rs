use cacheness::cached;

#[cached(ttl = 60, ttl_seconds = 60)]
fn f(n: u32) -> u32 {
    n
}

fn main() {
    f(1);
}
