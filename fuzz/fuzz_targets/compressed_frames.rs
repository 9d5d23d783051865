//! libFuzzer on [`orbd_fuzz::compressed_frames`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| orbd_fuzz::compressed_frames(data));
