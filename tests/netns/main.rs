//! Built programs in network namespaces.
fn main() {}
