//! libFuzzer on [`orbd_fuzz::answers`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| orbd_fuzz::answers(data));
