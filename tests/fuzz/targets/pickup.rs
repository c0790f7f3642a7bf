#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pigeon_fuzz::formats::pickup(data));
