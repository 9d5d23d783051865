//! Images as block devices and mounted file systems, and an `rbd`-compatible command line.
