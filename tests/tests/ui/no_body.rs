use cacheness::cached;

trait T {
    #[cached]
    fn f(&self, n: u32) -> u32;
}

fn main() {}
