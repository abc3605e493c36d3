use cacheness::cached;

#[cached(call = f)]
fn f(n: u32) -> u32 {
    n
}

fn main() {
    f(1);
}
