use cacheness::cached;

struct Connection;

#[cached]
fn f(n: u32, connection: &Connection) -> u32 {
    let _ = connection;
    n
}

fn main() {
    f(1, &Connection);
}
