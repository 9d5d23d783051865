//! libFuzzer on [`orbd_fuzz::mountinfo`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| orbd_fuzz::mountinfo(data));
