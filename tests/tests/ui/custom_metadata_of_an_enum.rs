use cacheness::CustomMetadata;

#[derive(CustomMetadata)]
#[metadata(name = "stages")]
enum Stage {
    Draft,
    Final,
}

fn main() {
    let _ = (Stage::Draft, Stage::Final);
}
