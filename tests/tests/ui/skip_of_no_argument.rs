use cacheness::cached;

#[cached(skip(connexion))]
fn f(n: u32, connection: u32) -> u32 {
    n + connection
}

fn main() {
    f(1, 2);
}
