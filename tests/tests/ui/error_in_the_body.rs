use cacheness::cached;

#[cached]
fn f(n: u32) -> String {
    n
}

#[cached]
async fn g(n: u32) -> String {
    n
}

fn main() {
    f(1);
    drop(g(1));
}
