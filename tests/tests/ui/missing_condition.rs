use cacheness::cache_if;

#[cache_if(ttl = 60)]
fn f(n: u32) -> u32 {
    n
}

fn main() {
    f(1);
}
