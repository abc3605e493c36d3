use cacheness::cached;

#[cached]
extern "C" fn f(n: u32) -> u32 {
    n
}

fn main() {
    f(1);
}
