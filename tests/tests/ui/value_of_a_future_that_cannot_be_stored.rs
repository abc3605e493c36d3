use cacheness::cached;

struct Handle;

#[cached]
async fn f(n: u32) -> Handle {
    let _ = n;
    Handle
}

fn main() {
    drop(f(1));
}
