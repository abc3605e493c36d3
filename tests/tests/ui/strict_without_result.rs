use cacheness::cached;

#[cached(ignore_errors = false)]
fn f(n: u32) -> u32 {
    n
}

fn main() {
    f(1);
}
