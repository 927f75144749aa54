//! Real shells on 127.0.0.1, with devices in memory.
fn main() {}
