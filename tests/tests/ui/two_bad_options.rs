use cacheness::cached;

#[cached(ttl = 0, banana, prefix = "p", skip(m))]
fn f(n: u32) -> u32 {
    n
}

fn main() {
    f(1);
}
