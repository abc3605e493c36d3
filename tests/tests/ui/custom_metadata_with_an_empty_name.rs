use cacheness::CustomMetadata;

#[derive(CustomMetadata)]
#[metadata(name = "runs")]
struct Run {
    #[metadata(name = "")]
    minutes: u32,
}

fn main() {
    let _ = Run { minutes: 1 }.minutes;
}
