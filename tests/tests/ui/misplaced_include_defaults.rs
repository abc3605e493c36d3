use cacheness::cached;

#[cached(key(n), include_defaults = false)]
fn f(n: u32) -> u32 {
    n
}

fn main() {
    f(1);
}
