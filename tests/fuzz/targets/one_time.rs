#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pigeon_fuzz::formats::one_time(data));
