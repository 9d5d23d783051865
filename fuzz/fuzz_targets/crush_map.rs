//! libFuzzer on [`orbd_fuzz::crush_map`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| orbd_fuzz::crush_map(data));
