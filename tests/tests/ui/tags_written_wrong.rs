use cacheness::cached;

#[cached(tags = "all", stale_on_eror)]
fn f(user: u32) -> u32 {
    user
}

fn main() {
    f(1);
}
