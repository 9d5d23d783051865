//! libFuzzer on [`orbd_fuzz::object_map`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| orbd_fuzz::object_map(data));
