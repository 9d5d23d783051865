//! libFuzzer on [`orbd_fuzz::decompression`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| orbd_fuzz::decompression(data));
