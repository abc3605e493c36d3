use cacheness::cached;

#[cached(ttl = 60)]
struct S {
    n: u32,
}

fn main() {
    let _ = S { n: 1 }.n;
}
