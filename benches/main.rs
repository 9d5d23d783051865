//! Micro-benchmarks: what the parts of an I/O cost, each beside the least that it could cost, which is
//! measured in the same run.
//!
//! One module is one subject. Words after `--` choose among the measurements by their names:
//!
//! ```text
//! cargo bench -p orbd-benches -- placement
//! ```
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    reason = "what fails here is a mistake in the benchmark"
)]

mod buffer_pool;
mod checksums;
mod ciphers;
mod connection;
mod frames;
mod map_bytes;
mod nbd;
mod object_map;
mod osd_map;
mod placement;
mod requests;
mod sockets;
mod subject;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};

criterion_group! {
    name = all;
    config = Criterion::default()
        .without_plots()
        .sample_size(15)
        .nresamples(1_000)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(300));
    targets =
        checksums::measure,
        ciphers::measure,
        buffer_pool::measure,
        frames::measure,
        osd_map::measure,
        placement::measure,
        requests::measure,
        object_map::measure,
        nbd::measure,
        sockets::measure,
}
criterion_main!(all);
