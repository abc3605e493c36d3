use cacheness::cached;

#[cached(ttl = 60, stale_on_error)]
fn f(n: u32) -> Option<u32> {
    Some(n)
}

fn main() {
    f(1);
}
