//! libFuzzer on [`orbd_fuzz::osd_types`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| orbd_fuzz::osd_types(data));
