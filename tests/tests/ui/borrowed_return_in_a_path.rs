use std::borrow::Cow;

use cacheness::cached;

#[cached]
async fn f(text: &str) -> Cow<'_, str> {
    text.into()
}

fn main() {
    drop(f(""));
}
