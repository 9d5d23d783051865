//! libFuzzer on [`orbd_fuzz::cephx`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| orbd_fuzz::cephx(data));
