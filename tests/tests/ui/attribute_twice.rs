use cacheness::cached;

#[cached(ttl = 60)]
#[cached(prefix = "p")]
fn f(n: u32) -> u32 {
    n
}

fn main() {
    f(1);
}
