//! CRUSH: the map and its placement function.
#![forbid(unsafe_code)]
