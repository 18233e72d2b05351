//! The `soros` binary.
fn main() {}
