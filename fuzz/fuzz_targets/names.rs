//! libFuzzer on [`orbd_fuzz::names`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| orbd_fuzz::names(data));
