use cacheness::CustomMetadata;

#[derive(CustomMetadata)]
#[metadata(name = "runs")]
struct Run(u32);

fn main() {
    let Run(_) = Run(1);
}
