use cacheness::cached;

#[cached(prefix = 5)]
fn f(n: u32) -> u32 {
    n
}

fn main() {
    f(1);
}
