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
        .with(Features::SERVER_TENTACLE)
        .with(Features::CRUSH_MSR)
        .with(Features::STRETCH_MODE)
        .with(Features::RANGE_BLOCKLIST)
};

/// What a daemon must support: typed addresses, and replies addressed by operation number.
pub(crate) const REQUIRED: Features = Features::MSG_ADDR2.with(Features::OSDREPLYMUX);

/// What the bits are called, in their latest incarnation. Where several features share a bit, that of
/// a release or the best known one.
const NAMES: [(u32, &str); 57] = [
    (0, "UID"),
    (1, "NOSRCADDR"),
    (2, "SERVER_NAUTILUS"),
    (3, "FLOCK"),
    (4, "SUBSCRIBE2"),
    (5, "MONNAMES"),
    (6, "RECONNECT_SEQ"),
    (7, "DIRLAYOUTHASH"),
    (8, "OBJECTLOCATOR"),
    (9, "PGID64"),
    (10, "INCSUBOSDMAP"),
    (11, "PGPOOL3"),
    (12, "OSDREPLYMUX"),
    (13, "OSDENC"),
    (14, "SERVER_KRAKEN"),
    (15, "MONENC"),
    (16, "SERVER_OCTOPUS"),
    (17, "OS_PERF_STAT_NS"),
    (18, "CRUSH_TUNABLES"),
    (19, "OSD_PGLOG_HARDLIMIT"),
    (20, "SERVER_PACIFIC"),
    (21, "SERVER_LUMINOUS"),
    (22, "OSD_FIXED_COLLECTION_LIST"),
    (23, "MSG_AUTH"),
    (24, "RECOVERY_RESERVATION_2"),
    (25, "CRUSH_TUNABLES2"),
    (26, "CREATEPOOLID"),
    (27, "REPLY_CREATE_INODE"),
    (28, "SERVER_MIMIC"),
    (29, "MDSENC"),
    (30, "OSDHASHPSPOOL"),
    (31, "SERVER_REEF"),
    (32, "STRETCH_MODE"),
    (33, "SERVER_QUINCY"),
    (34, "RANGE_BLOCKLIST"),
    (35, "OSD_CACHEPOOL"),
    (36, "CRUSH_V2"),
    (37, "EXPORT_PEER"),
    (38, "CRUSH_MSR"),
    (39, "OSDMAP_ENC"),
    (40, "MDS_INLINE_DATA"),
    (41, "CRUSH_TUNABLES3"),
    (42, "MSGR_KEEPALIVE2"),
    (43, "OSD_POOLRESEND"),
    (44, "NVMEOFHA"),
    (45, "NVMEOFHAMAP"),
    (46, "OSD_FADVISE_FLAGS"),
    (47, "MDS_QUOTA"),
    (48, "CRUSH_V4"),
    (49, "SERVER_SQUID"),
    (50, "SERVER_TENTACLE"),
    (56, "NEW_OSDOP_ENCODING"),
    (57, "SERVER_JEWEL"),
    (58, "CRUSH_TUNABLES5"),
    (59, "MSG_ADDR2"),
    (60, "OSD_RECOVERY_DELETES"),
    (61, "CEPHX_V2"),
];

/// The names of the bits in a set, for people; the numbers of those that have none.
pub(crate) fn names(features: Features) -> String {
    let bits = (0..u64::BITS).filter(|bit| features.0 & 1 << bit != 0);
    let names: Vec<String> = bits
        .map(|bit| {
            let named = NAMES.iter().find(|it| it.0 == bit);
            named.map_or_else(|| format!("bit {bit}"), |(_, name)| (*name).to_string())
        })
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_have_names_or_numbers() {
        let features = Features(1 << 12 | 1 << 31 | 1 << 51 | 1 << 61);
        let expected = "OSDREPLYMUX, SERVER_REEF, bit 51, CEPHX_V2";
        assert_eq!(names(features), expected);
        assert_eq!(names(Features::NONE), "");
    }

    #[test]
    fn everything_advertised_and_required_has_a_name() {
        for features in [SUPPORTED, REQUIRED] {
            assert!(!names(features).contains("bit"), "{}", names(features));
        }
        assert!(SUPPORTED.contains(REQUIRED));
    }
}
