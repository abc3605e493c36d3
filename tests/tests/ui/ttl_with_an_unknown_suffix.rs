use cacheness::cached;

#[cached(ttl = 1hour30)]
fn f(n: u32) -> u32 {
    n
}

#[cached(ttl = 5hh)]
fn g(n: u32) -> u32 {
    n
}

fn main() {
    f(1) + g(1);
}
