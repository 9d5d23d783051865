//! libFuzzer on [`orbd_fuzz::crypto_key`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| orbd_fuzz::crypto_key(data));
