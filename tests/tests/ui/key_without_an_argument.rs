use cacheness::cached;

#[cached(key = "u32")]
fn f(x: u32) -> u32 {
    x
}

#[cached(key("id"))]
fn g(id: u32) -> u32 {
    id
}

fn main() {
    f(1) + g(1);
}
