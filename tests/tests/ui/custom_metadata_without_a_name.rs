use cacheness::CustomMetadata;

#[derive(CustomMetadata)]
struct Run {
    minutes: u32,
}

fn main() {
    let _ = Run { minutes: 1 }.minutes;
}
