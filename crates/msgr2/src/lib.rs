//! Ceph messenger v2: frames, handshake, secure mode and sessions; a core without I/O and a tokio driver.
#![forbid(unsafe_code)]
