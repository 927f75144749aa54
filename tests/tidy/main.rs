//! The repository checked as data.
fn main() {}
