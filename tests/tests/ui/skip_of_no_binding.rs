use cacheness::cached;

struct State<T>(T);

#[cached(skip(pol))]
fn f(State(pool): State<u32>, n: u32) -> u32 {
    pool + n
}

fn main() {
    f(State(1), 1);
}
