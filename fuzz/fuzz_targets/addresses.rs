//! libFuzzer on [`orbd_fuzz::addresses`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| orbd_fuzz::addresses(data));
