use cacheness::CustomMetadata;

#[derive(CustomMetadata)]
#[metadata(name = "runs")]
struct Run {
    minutes: u32,
    #[metadata(name = "minutes")]
    seconds: u32,
}

fn main() {
    let run = Run { minutes: 1, seconds: 60 };
    let _ = (run.minutes, run.seconds);
}
