//! The feature bits this client advertises: exactly what it can decode and do. What is advertised
//! decides which encodings the daemons send.

use denc::Features;

/// Bits that have no name in [`Features`] because nobody asks for them one by one
/// (ceph: src/include/ceph_features.h).
const PLAIN_BITS: [u32; 24] = [
    1,  // NOSRCADDR
    4,  // SUBSCRIBE2
    5,  // MONNAMES
    6,  // RECONNECT_SEQ
    8,  // OBJECTLOCATOR
    9,  // PGID64
    10, // INCSUBOSDMAP
    11, // PGPOOL3
    13, // OSDENC
    14, // SERVER_KRAKEN
    15, // MONENC
    18, // CRUSH_TUNABLES
    23, // MSG_AUTH
    25, // CRUSH_TUNABLES2
    30, // OSDHASHPSPOOL
    35, // OSD_CACHEPOOL: redirects are followed
    36, // CRUSH_V2
    39, // OSDMAP_ENC
    41, // CRUSH_TUNABLES3, OSD_PRIMARY_AFFINITY
    42, // MSGR_KEEPALIVE2
    43, // OSD_POOLRESEND
    48, // CRUSH_V4
    56, // NEW_OSDOP_ENCODING
    58, // CRUSH_TUNABLES5, NEW_OSDOPREPLY_ENCODING
];

/// What this client supports.
pub(crate) const SUPPORTED: Features = {
    let mut bits = 0;
    let mut index = 0;
    while index < PLAIN_BITS.len() {
        #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
        {
            bits |= 1 << PLAIN_BITS[index];
        }
        index += 1;
    }
    Features(bits)
        .with(Features::OSDREPLYMUX)
        .with(Features::MSG_ADDR2)
        .with(Features::CEPHX_V2)
        .with(Features::SERVER_LUMINOUS)
        .with(Features::SERVER_MIMIC)
        .with(Features::SERVER_NAUTILUS)
        .with(Features::SERVER_OCTOPUS)
        .with(Features::SERVER_PACIFIC)
        .with(Features::SERVER_QUINCY)
        .with(Features::SERVER_REEF)
        .with(Features::SERVER_SQUID)
        .with(Features::STRETCH_MODE)
        .with(Features::RANGE_BLOCKLIST)
};

/// What a daemon must support: typed addresses, and replies addressed by operation number.
pub(crate) const REQUIRED: Features = Features::MSG_ADDR2.with(Features::OSDREPLYMUX);
