use cacheness::CustomMetadata;

#[derive(CustomMetadata)]
#[metadata(name = "runs")]
struct Run<T> {
    minutes: T,
}

fn main() {
    let _ = Run { minutes: 1 }.minutes;
}
