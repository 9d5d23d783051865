//! libFuzzer on [`orbd_fuzz::keyring`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| orbd_fuzz::keyring(data));
