use cacheness::cached;

struct Service;

impl Service {
    #[cached]
    async fn f(&self, n: u32) -> u32 {
        n
    }
}

fn main() {
    drop(Service.f(1));
}
