//! libFuzzer on [`orbd_fuzz::signatures`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| orbd_fuzz::signatures(data));
