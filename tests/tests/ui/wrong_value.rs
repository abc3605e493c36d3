use cacheness::cached;

#[cached(include_defaults = "no", prefix)]
fn f(n: u32) -> u32 {
    n
}

fn main() {
    f(1);
}
