use cacheness::cached;

#[cached(stale_on_error, cache_err)]
fn f(n: u32) -> Result<u32, String> {
    Ok(n)
}

fn main() {
    let _ = f(1);
}
