use cacheness::CustomMetadata;

#[derive(CustomMetadata)]
#[metadata(name = "runs")]
struct Run {
    minutes: u32,
    points: Vec<u32>,
}

fn main() {
    let run = Run { minutes: 1, points: Vec::new() };
    let _ = (run.minutes, run.points);
}
