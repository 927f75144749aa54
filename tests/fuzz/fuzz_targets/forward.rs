#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lacis_tunnel::fuzz::forward(bytes));
