//! libFuzzer on [`orbd_fuzz::ini`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| orbd_fuzz::ini(data));
