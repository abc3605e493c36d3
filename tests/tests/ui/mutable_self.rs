use cacheness::cached;

struct S(u32);

impl S {
    #[cached]
    fn f(&mut self) -> u32 {
        self.0
    }
}

fn main() {
    S(1).f();
}
