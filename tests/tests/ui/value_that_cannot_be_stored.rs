use cacheness::cached;

struct Handle;

#[cached]
fn f(n: u32) -> Result<Handle, String> {
    let _ = n;
    Ok(Handle)
}

fn main() {
    let _ = f(1);
}
