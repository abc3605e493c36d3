use cacheness::cached;

#[cached]
const fn f(n: u32) -> u32 {
    n
}

fn main() {
    const _: u32 = f(1);
}
