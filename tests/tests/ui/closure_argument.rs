use cacheness::cached;

#[cached]
fn f(n: u32, step: impl Fn(u32) -> u32) -> u32 {
    step(n)
}

#[cached]
fn g<F>(n: u32, step: &F) -> u32
where
    F: Fn(u32) -> u32,
{
    step(n)
}

#[cached]
fn h(n: u32, step: fn(u32) -> u32) -> u32 {
    step(n)
}

fn main() {
    f(1, |n| n) + g(1, &|n| n) + h(1, |n| n);
}
