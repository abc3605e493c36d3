use cacheness::cached;

#[cached]
fn f(n: u32) -> [f32; 512] {
    [n as f32; 512]
}

fn main() {
    f(1);
}
