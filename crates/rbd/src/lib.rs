//! RADOS block device images.
#![forbid(unsafe_code)]
