use cacheness::cached;

#[cached(tags("user:{}"))]
async fn f(user: u32) -> u32 {
    user
}

fn main() {
    let _ = f(1);
}
