//! libFuzzer on [`orbd_fuzz::mon_host`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| orbd_fuzz::mon_host(data));
