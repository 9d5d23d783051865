//! Objects as OSDs sort them (ceph: src/common/hobject.h, `hobject_t`).

use std::cmp::Ordering;

use denc::{Decode, Encode, PoolId, Reader, Result, SnapId, Writer};

/// An object, or one of the two ends of the order.
///
/// OSDs walk through the objects of a placement group in this order: by pool, by the hash with its
/// bits reversed, by namespace, key, name and snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HObject {
    /// What was hashed in place of the name, unless empty.
    pub key: String,
    /// The name.
    pub name: String,
    /// The snapshot, or [`SnapId::HEAD`].
    pub snap: SnapId,
    /// The hash of key or name.
    pub hash: u32,
    /// Whether this is no object but the end behind all of them.
    pub max: bool,
    /// The namespace.
    pub namespace: String,
    /// The pool.
    pub pool: PoolId,
}

impl HObject {
    /// The end before all objects.
    pub const MIN: Self = Self::end(false);

    /// The end behind all objects.
    pub const MAX: Self = Self::end(true);

    const fn end(max: bool) -> Self {
        Self {
            key: String::new(),
            name: String::new(),
            snap: SnapId(0),
            hash: 0,
            max,
            namespace: String::new(),
            pool: PoolId(i64::MIN),
        }
    }

    /// The text that was hashed.
    pub fn effective_key(&self) -> &str {
        if self.key.is_empty() {
            &self.name
        } else {
            &self.key
        }
    }

    /// The hash as it is sorted.
    const fn sorted_hash(&self) -> u64 {
        if self.max {
            1 << 32
        } else {
            self.hash.reverse_bits() as u64
        }
    }
}

impl Default for HObject {
    fn default() -> Self {
        Self::MIN
    }
}

impl Ord for HObject {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_key = || {
            if self.key.is_empty() && other.key.is_empty() {
                return Ordering::Equal;
            }
            self.effective_key().cmp(other.effective_key())
        };
        self.max
            .cmp(&other.max)
            .then_with(|| self.pool.cmp(&other.pool))
            .then_with(|| self.sorted_hash().cmp(&other.sorted_hash()))
            .then_with(|| self.namespace.cmp(&other.namespace))
            .then_with(by_key)
            .then_with(|| self.name.cmp(&other.name))
            .then_with(|| self.snap.cmp(&other.snap))
            // Not in Ceph's order, but objects that differ must not compare equal: a key that is
            // the name itself, and the unused hash of the end.
            .then_with(|| self.key.cmp(&other.key))
            .then_with(|| self.hash.cmp(&other.hash))
    }
}

impl PartialOrd for HObject {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Encode for HObject {
    fn encode(&self, writer: &mut Writer) {
        writer.envelope(4, 3, |writer| {
            writer
                .str(&self.key)
                .str(&self.name)
                .put(&self.snap)
                .u32(self.hash)
                .bool(self.max)
                .str(&self.namespace)
                .put(&self.pool);
        });
    }
}

impl Decode for HObject {
    const MIN_LEN: usize = 6 + 21;

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let envelope = reader.envelope("hobject_t", 4)?;
        let mut fields = envelope.reader;
        let mut object = Self {
            key: fields.get()?,
            name: fields.get()?,
            snap: fields.get()?,
            hash: fields.u32()?,
            max: fields.bool()?,
            ..Self::MIN
        };
        if envelope.version >= 4 {
            object.namespace = fields.get()?;
            object.pool = fields.get()?;
        }
        if object.max {
            return Ok(Self::MAX);
        }
        // How Hammer wrote the end before all objects.
        if object.pool.0 == -1 && object.snap.0 == 0 && object.hash == 0 && object.name.is_empty() {
            object.pool = Self::MIN.pool;
        }
        Ok(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, hash: u32) -> HObject {
        HObject {
            name: name.to_owned(),
            snap: SnapId::HEAD,
            hash,
            pool: PoolId(1),
            ..HObject::MIN
        }
    }

    #[test]
    fn objects_are_sorted_by_reversed_hash() {
        let first = object("z", 0x8000_0000);
        let second = object("a", 0x4000_0000);
        let third = object("a", 1);
        assert!(first < second && second < third);
        assert!(HObject::MIN < first && third < HObject::MAX);
        let other_pool = HObject {
            pool: PoolId(2),
            ..first.clone()
        };
        assert!(third < other_pool && other_pool < HObject::MAX);
    }

    #[test]
    fn namespace_key_name_and_snapshot_decide_between_equal_hashes() {
        let base = object("b", 7);
        let with = |change: fn(&mut HObject)| {
            let mut object = base.clone();
            change(&mut object);
            object
        };
        assert!(base < with(|object| object.namespace = "n".to_owned()));
        assert!(base > with(|object| object.key = "a".to_owned()));
        assert!(base > with(|object| object.name = "a".to_owned()));
        assert!(base > with(|object| object.snap = SnapId(3)));
    }

    #[test]
    fn the_least_object_is_in_the_least_pool() {
        let bytes = Writer::encode(&HObject::MIN);
        let mut expected = vec![4, 3, 33, 0, 0, 0];
        expected.resize(6 + 32, 0);
        expected.push(0x80);
        assert_eq!(bytes[..], expected);
        assert_eq!(HObject::decode_all("object", &bytes).unwrap(), HObject::MIN);
        for len in 0..bytes.len() {
            assert!(HObject::decode_all("object", &bytes[..len]).is_err());
        }
    }

    #[test]
    fn an_object_is_read_as_it_was_written() {
        let mut written = object("name", 0x1234_5678);
        written.key = "key".to_owned();
        written.namespace = "namespace".to_owned();
        written.snap = SnapId(4);
        let bytes = Writer::encode(&written);
        assert_eq!(HObject::decode_all("object", &bytes).unwrap(), written);
    }

    #[test]
    fn every_end_is_the_same_end() {
        let odd = HObject {
            max: true,
            ..object("x", 1)
        };
        let bytes = Writer::encode(&odd);
        assert_eq!(HObject::decode_all("object", &bytes).unwrap(), HObject::MAX);
    }
}
