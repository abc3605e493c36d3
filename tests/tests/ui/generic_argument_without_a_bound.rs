use cacheness::cached;

#[cached]
fn f<T: Copy>(value: T) -> usize {
    let _ = value;
    size_of::<T>()
}

fn main() {
    f(1);
}
