use std::pin::Pin;

fn boxed(n: u32) -> Pin<Box<dyn Future<Output = u32>>> {
    Box::pin(async move { n })
}

fn main() {
    let _ = cacheness::refresh(|| boxed(1));
}
