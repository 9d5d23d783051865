//! libFuzzer on [`orbd_fuzz::mon_map`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| orbd_fuzz::mon_map(data));
