//! libFuzzer on [`orbd_fuzz::mapping`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| orbd_fuzz::mapping(data));
