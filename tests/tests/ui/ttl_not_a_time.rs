use cacheness::cached;

#[cached(ttl = "a day")]
fn f(n: u32) -> u32 {
    n
}

fn main() {
    f(1);
}
