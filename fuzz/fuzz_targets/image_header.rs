//! libFuzzer on [`orbd_fuzz::image_header`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| orbd_fuzz::image_header(data));
