use cacheness::cached;

#[cached(ttl = |n| *n)]
fn f(n: u64) -> u64 {
    n
}

fn main() {
    f(1);
}
