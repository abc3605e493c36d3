async fn f(n: u32) -> u32 {
    n
}

fn main() {
    let _ = cacheness::bypass(|| (f(1), f(2)));
}
