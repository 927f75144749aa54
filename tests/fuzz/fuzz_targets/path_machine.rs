#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lacis_agent_core::path_fuzz::machine(bytes));
