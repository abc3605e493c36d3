use cacheness::cached;
use serde::Serialize;

#[derive(Serialize)]
struct OneWay;

#[cached]
fn f(n: u32) -> OneWay {
    let _ = n;
    OneWay
}

fn main() {
    f(1);
}
