//! A RADOS client: configuration, monitors, OSD maps, and operations on objects.
#![forbid(unsafe_code)]

pub mod config;
pub mod osdmap;
