//! libFuzzer on [`orbd_fuzz::osd_map`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| orbd_fuzz::osd_map(data));
