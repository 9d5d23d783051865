//! libFuzzer on [`orbd_fuzz::ceph_conf`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| orbd_fuzz::ceph_conf(data));
