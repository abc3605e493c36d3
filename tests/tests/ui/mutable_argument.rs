use cacheness::cached;

#[cached]
fn f(n: u32, list: &mut Vec<u32>) -> u32 {
    list.push(n);
    n
}

fn main() {
    f(1, &mut Vec::new());
}
