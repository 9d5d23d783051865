//! How near OSDs are to a place in the CRUSH hierarchy
//! (ceph: src/crush/CrushWrapper.cc, `CrushWrapper::get_common_ancestor_distance`).

use std::collections::{HashMap, HashSet};

use crush::{CrushMap, Item};
use denc::OsdId;

/// A place in the CRUSH hierarchy: names of buckets by their types, `host=a rack=r1` for example
/// (ceph: `crush_location`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CrushLocation {
    buckets: Vec<(String, String)>,
}

impl CrushLocation {
    /// Reads `type=name` pairs, with spaces, commas or semicolons between them, or as krbd has them:
    /// `type:name` with `|` between them. `None` if it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        let pairs = text.split([' ', '\t', ',', ';', '|']);
        let buckets = pairs.filter(|pair| !pair.is_empty()).map(|pair| {
            let (kind, name) = pair.split_once(['=', ':'])?;
            let is_named = !kind.is_empty() && !name.is_empty();
            is_named.then(|| (kind.to_string(), name.to_string()))
        });
        Some(Self {
            buckets: buckets.collect::<Option<_>>()?,
        })
    }

    /// The place of a host of which nothing but the name, up to its first dot, is known.
    pub fn of_host(host: &str) -> Self {
        let pair = |kind: &str, name: &str| (kind.to_string(), name.to_string());
        Self {
            buckets: vec![pair("host", host), pair("root", "default")],
        }
    }
}

/// How near the OSDs of one map are to one place.
#[derive(Debug)]
pub(crate) struct Localities {
    /// The type of the smallest bucket that has both: the lower, the nearer.
    nearest: HashMap<OsdId, u16>,
}

impl Localities {
    pub(crate) fn new(crush: &CrushMap, location: &CrushLocation) -> Self {
        let mut nearest = HashMap::new();
        for (kind, name) in &location.buckets {
            let Some(bucket) = crush.item_by_name(name).and_then(|item| crush.bucket(item)) else {
                continue;
            };
            if crush.type_name(bucket.kind) != Some(kind.as_str()) {
                continue;
            }
            let mut inside: Vec<Item> = bucket.items.clone();
            // A bucket can be in several others.
            let mut seen = HashSet::new();
            while let Some(item) = inside.pop() {
                if let Some(inner) = crush.bucket(item) {
                    if seen.insert(item) {
                        inside.extend(&inner.items);
                    }
                } else {
                    let found = nearest.entry(OsdId(item.0)).or_insert(bucket.kind);
                    *found = bucket.kind.min(*found);
                }
            }
        }
        Self { nearest }
    }

    /// The nearest of `osds`, the first of those that are equally near.
    pub(crate) fn nearest(&self, osds: impl IntoIterator<Item = OsdId>) -> Option<OsdId> {
        let far = u16::MAX;
        osds.into_iter()
            .min_by_key(|osd| self.nearest.get(osd).copied().unwrap_or(far))
    }
}

#[cfg(test)]
mod tests {
    use denc::Decode;

    use super::*;
    use crate::osdmap::OsdMap;

    #[test]
    fn a_place_is_written_in_either_way() {
        let expected = CrushLocation {
            buckets: vec![
                ("host".to_string(), "a".to_string()),
                ("rack".to_string(), "r:1".to_string()),
            ],
        };
        for text in ["host=a rack=r:1", "host=a,rack=r:1;", "host:a|rack:r:1"] {
            assert_eq!(CrushLocation::parse(text), Some(expected.clone()), "{text}");
        }
        for text in ["host", "=a", "host="] {
            assert_eq!(CrushLocation::parse(text), None, "{text}");
        }
        assert_eq!(CrushLocation::parse(" "), Some(CrushLocation::default()));
    }

    #[test]
    fn the_smallest_bucket_in_common_counts() {
        let file = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/testdata/osdmap/two-hundred.osdmap"
        );
        let map = OsdMap::decode_all("map", &std::fs::read(file).unwrap()).unwrap();
        // Eight OSDs to a host, five hosts to a rack.
        for (place, osds, expected) in [
            ("host=host0 rack=rack0 root=root", [100, 39, 3], 3),
            ("host=host0 rack=rack0 root=root", [100, 39, 199], 39),
            ("host=host12 rack=rack2 root=root", [3, 39, 99], 99),
            // None is nearer than the first.
            ("root=root", [100, 39, 3], 100),
            ("", [39, 100, 3], 39),
            // Not the name of one of that type, or of any.
            ("host=rack0 rack=nowhere", [100, 39, 3], 100),
        ] {
            let place = CrushLocation::parse(place).unwrap();
            let localities = Localities::new(map.crush(), &place);
            let nearest = localities.nearest(osds.map(OsdId)).unwrap();
            assert_eq!(nearest, OsdId(expected), "{place:?} {osds:?}");
        }
    }
}
