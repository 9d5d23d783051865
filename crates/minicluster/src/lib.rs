//! Starts a throwaway real Ceph cluster from installed packages.
#![forbid(unsafe_code)]
