use cacheness::cached;

#[cached(ttl = 60, stale_on_error)]
async fn f(n: u32) -> u32 {
    n
}

fn main() {
    let _ = f(1);
}
