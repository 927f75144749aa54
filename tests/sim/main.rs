//! The whole mesh on a virtual clock and network, by seed.
fn main() {}
