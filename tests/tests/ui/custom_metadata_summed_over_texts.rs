use cacheness::{Cache, CustomMetadata};

#[derive(CustomMetadata)]
#[metadata(name = "runs")]
struct Run {
    label: String,
}

fn main() {
    let _ = Cache::in_memory().query::<Run>().sum(Run::LABEL);
}
