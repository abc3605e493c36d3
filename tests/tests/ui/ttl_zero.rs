use cacheness::cached;

#[cached(ttl = "0s")]
fn f(n: u32) -> u32 {
    n
}

fn main() {
    f(1);
}
