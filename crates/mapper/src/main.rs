//! The `orbd` command.
#![forbid(unsafe_code)]

fn main() {}
