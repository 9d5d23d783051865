//! Placement groups and the hash that puts an object into one.

use std::borrow::Cow;
use std::fmt;

use denc::{Decode, Encode, PoolId, Reader, Result, Writer};

/// A placement group (ceph: src/osd/osd_types.h, `pg_t`; 17 bytes).
///
/// *Raw* if the seed is an object's whole hash, *actual* if it is below the pool's number of
/// placement groups.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PgId {
    /// The pool.
    pub pool: PoolId,
    /// Which of the pool's placement groups.
    pub seed: u32,
}

/// As Ceph's tools print it: `3.1f`.
impl fmt::Display for PgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:x}", self.pool, self.seed)
    }
}

impl fmt::Debug for PgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Encode for PgId {
    fn encode(&self, writer: &mut Writer) {
        writer
            .u8(1)
            .put(&self.pool)
            .u32(self.seed)
            .i32(NO_PREFERRED);
    }
}

impl Decode for PgId {
    const MIN_LEN: usize = 17;

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        match reader.u8()? {
            1 => {}
            other => return Err(reader.invalid("pg_t version", other.into())),
        }
        let pg = Self {
            pool: reader.get()?,
            seed: reader.u32()?,
        };
        reader.i32()?;
        Ok(pg)
    }
}

/// The place of an OSD in an erasure-coded placement group (`shard_id_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub i8);

impl ShardId {
    /// The placement group is replicated, all of its OSDs hold the same.
    pub const NONE: Self = Self(-1);
}

/// A placement group as an OSD holds it (ceph: src/osd/osd_types.h, `spg_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardedPgId {
    /// The placement group.
    pub pg: PgId,
    /// Which part of it.
    pub shard: ShardId,
}

/// As Ceph's tools print it: `3.1fs2`, or `3.1f` for replicated ones.
impl fmt::Display for ShardedPgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pg.fmt(f)?;
        match self.shard {
            ShardId::NONE => Ok(()),
            ShardId(shard) => write!(f, "s{shard}"),
        }
    }
}

impl Encode for ShardedPgId {
    fn encode(&self, writer: &mut Writer) {
        writer.envelope(1, 1, |writer| {
            writer.put(&self.pg).raw(&self.shard.0.to_le_bytes());
        });
    }
}

impl Decode for ShardedPgId {
    const MIN_LEN: usize = 24;

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let mut fields = reader.envelope("spg_t", 1)?.reader;
        Ok(Self {
            pg: fields.get()?,
            shard: ShardId(fields.i8()?),
        })
    }
}

/// In which pool and namespace an object is, and what decides its placement group
/// (ceph: src/osd/osd_types.h, `object_locator_t`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectLocator {
    /// The pool.
    pub pool: PoolId,
    /// What is hashed in place of the object's name, unless empty.
    pub key: String,
    /// The namespace; empty for the default one.
    pub namespace: String,
    /// The hash itself, in place of name or key.
    pub hash: Option<u32>,
}

impl ObjectLocator {
    /// The default namespace of a pool, objects placed by their names.
    pub const fn new(pool: PoolId) -> Self {
        Self {
            pool,
            key: String::new(),
            namespace: String::new(),
            hash: None,
        }
    }

    /// The text that decides the placement group of an object.
    pub(crate) fn hashed_text<'a>(&'a self, name: &'a str) -> Cow<'a, [u8]> {
        let own = if self.key.is_empty() { name } else { &self.key };
        if self.namespace.is_empty() {
            return Cow::Borrowed(own.as_bytes());
        }
        let namespace = self.namespace.as_bytes();
        Cow::Owned([namespace, &[NAMESPACE_END], own.as_bytes()].concat())
    }
}

impl Encode for ObjectLocator {
    fn encode(&self, writer: &mut Writer) {
        // Readers that do not know the hash would look in the wrong place.
        let compat = if self.hash.is_some() { 6 } else { 3 };
        writer.envelope(6, compat, |writer| {
            writer
                .put(&self.pool)
                .i32(NO_PREFERRED)
                .str(&self.key)
                .str(&self.namespace)
                .i64(self.hash.map_or(-1, i64::from));
        });
    }
}

impl Decode for ObjectLocator {
    const MIN_LEN: usize = 6 + 16;

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let envelope = reader.envelope("object_locator_t", 6)?;
        let mut fields = envelope.reader;
        let pool = fields.get()?;
        fields.i32()?;
        let key = fields.get()?;
        let namespace = if envelope.version >= 5 {
            fields.get()?
        } else {
            String::new()
        };
        let hash =
            if envelope.version >= 6 {
                let start = fields.clone();
                match fields.i64()? {
                    -1 => None,
                    hash => Some(u32::try_from(hash).map_err(|_| {
                        start.invalid("object_locator_t hash", hash.cast_unsigned())
                    })?),
                }
            } else {
                None
            };
        Ok(Self {
            pool,
            key,
            namespace,
            hash,
        })
    }
}

/// A field that nothing uses any more.
const NO_PREFERRED: i32 = -1;
/// Between namespace and name in what is hashed (`pg_pool_t::hash_key`).
const NAMESPACE_END: u8 = 0x1f;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placement_group_takes_seventeen_bytes() {
        let pg = PgId {
            pool: PoolId(3),
            seed: 0x1f,
        };
        let bytes = Writer::encode(&pg);
        assert_eq!(
            bytes[..],
            [1, 3, 0, 0, 0, 0, 0, 0, 0, 0x1f, 0, 0, 0, 255, 255, 255, 255]
        );
        assert_eq!(PgId::decode_all("pg", &bytes).unwrap(), pg);
        assert_eq!(pg.to_string(), "3.1f");
    }

    #[test]
    fn a_shard_is_behind_its_placement_group() {
        let pg = PgId {
            pool: PoolId(1),
            seed: 2,
        };
        let spg = ShardedPgId {
            pg,
            shard: ShardId(4),
        };
        let bytes = Writer::encode(&spg);
        assert_eq!(bytes[..6], [1, 1, 18, 0, 0, 0]);
        assert_eq!(bytes[23], 4);
        assert_eq!(ShardedPgId::decode_all("spg", &bytes).unwrap(), spg);
        assert_eq!(spg.to_string(), "1.2s4");
        for len in 0..bytes.len() {
            assert!(ShardedPgId::decode_all("spg", &bytes[..len]).is_err());
        }
    }

    #[test]
    fn a_locator_says_who_may_read_its_hash() {
        let mut locator = ObjectLocator::new(PoolId(7));
        let bytes = Writer::encode(&locator);
        assert_eq!(bytes[..6], [6, 3, 28, 0, 0, 0]);
        assert_eq!(ObjectLocator::decode_all("loc", &bytes).unwrap(), locator);
        locator.hash = Some(u32::MAX);
        locator.namespace = "ns".to_owned();
        locator.key = "k".to_owned();
        let bytes = Writer::encode(&locator);
        assert_eq!(bytes[..2], [6, 6]);
        assert_eq!(ObjectLocator::decode_all("loc", &bytes).unwrap(), locator);
        for len in 0..bytes.len() {
            assert!(ObjectLocator::decode_all("loc", &bytes[..len]).is_err());
        }
    }
}
