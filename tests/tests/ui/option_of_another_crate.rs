use cacheness::cached;

#[cached(ty = "TimedCache<u32, u32>", create = "{ TimedCache::with_lifespan(60) }", sync_writes = "by_key", prefix = "p")]
fn f(n: u32) -> u32 {
    n
}

fn main() {
    f(1);
}
