use cacheness::cached;

#[cached(ignore_errors = false)]
fn f(n: u32) -> Result<u32, String> {
    Ok(n)
}

fn main() {
    let _ = f(1);
}
