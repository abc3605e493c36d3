use cacheness::cached;

#[cached(handler = HANDLER, memory = true)]
fn f(n: u32) -> u32 {
    n
}

fn main() {
    f(1);
}
