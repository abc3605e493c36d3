use cacheness::cached;

struct Opaque;

#[cached(ttl = 60, share_errors)]
fn f(n: u32) -> Result<u32, Opaque> {
    Ok(n)
}

#[cached(ttl = 60, share_errors, single_flight = false)]
fn g(n: u32) -> Result<u32, String> {
    Ok(n)
}

fn main() {
    let _ = (f(1), g(1));
}
