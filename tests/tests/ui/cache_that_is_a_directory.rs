use cacheness::{Result, cached};

#[cached(cache = "./dir")]
fn f(n: u32) -> u32 {
    n
}

#[cached(cache = cacheness::Cache::open("./dir")?)]
fn g(n: u32) -> Result<u32> {
    Ok(n)
}

fn main() {
    f(1) + g(1).unwrap();
}
