//! libFuzzer on [`orbd_fuzz::nbd_requests`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| orbd_fuzz::nbd_requests(data));
