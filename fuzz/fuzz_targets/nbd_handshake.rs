//! libFuzzer on [`orbd_fuzz::nbd_handshake`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| orbd_fuzz::nbd_handshake(data));
