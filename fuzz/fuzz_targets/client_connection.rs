//! libFuzzer on [`orbd_fuzz::client_connection`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| orbd_fuzz::client_connection(data));
