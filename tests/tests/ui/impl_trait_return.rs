use cacheness::cached;

#[cached]
fn f(n: u32) -> impl Iterator<Item = u32> {
    0..n
}

fn main() {
    f(1).count();
}
