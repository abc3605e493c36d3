use cacheness::cached;

#[cached(tll = 60)]
fn f(n: u32) -> u32 {
    n
}

fn main() {
    f(1);
}
