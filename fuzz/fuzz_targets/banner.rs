//! libFuzzer on [`orbd_fuzz::banner`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| orbd_fuzz::banner(data));
