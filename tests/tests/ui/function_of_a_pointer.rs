fn f() {}

fn main() {
    let _ = cacheness::function(f as fn());
}
