use cacheness::cache_async;

#[cache_async(ttl = 60)]
fn f(n: u32) -> u32 {
    n
}

fn main() {
    f(1);
}
