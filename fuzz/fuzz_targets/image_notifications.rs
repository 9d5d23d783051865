//! libFuzzer on [`orbd_fuzz::image_notifications`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| orbd_fuzz::image_notifications(data));
