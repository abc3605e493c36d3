use cacheness::cached;

#[cached]
fn f(text: &str) -> Option<&str> {
    text.get(1..)
}

fn main() {
    f("a");
}
