use cacheness::CustomMetadata;

#[derive(CustomMetadata)]
#[metadata(name = "runs")]
struct Run {
    minutes: u32,
}

fn main() {
    let _ = Run::MINUTES.eq("long");
}
