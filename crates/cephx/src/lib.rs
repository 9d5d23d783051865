//! Ceph authentication: keys, keyrings, the cephx exchange, tickets and authorizers, without I/O.
#![forbid(unsafe_code)]
