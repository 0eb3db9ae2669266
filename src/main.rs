//! The command line.

fn main() {
    println!("tonewall {}", env!("CARGO_PKG_VERSION"));
}
