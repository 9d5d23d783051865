//! How types are taken from and put on the wire, and the encodings of Rust's own types.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hash};
use std::{collections::HashMap, vec::Vec};

use bytes::Bytes;
use smallvec::{Array, SmallVec};

use crate::{Reader, Result, Writer};

/// A type that can be read from Ceph's encoding.
pub trait Decode: Sized {
    /// The fewest bytes a value takes: what bounds the memory that a collection's count can ask for.
    const MIN_LEN: usize = 1;

    /// Reads a value.
    ///
    /// # Errors
    /// If the bytes end too early or mean nothing. The reader then stands anywhere.
    fn decode(reader: &mut Reader<'_>) -> Result<Self>;

    /// Reads a value that takes all of `bytes`, which are called `what` in errors.
    ///
    /// # Errors
    /// As [`decode`](Self::decode), and if bytes are left over.
    fn decode_all(what: &'static str, bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(what, bytes);
        let value = Self::decode(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }
}

/// A type that can be written in Ceph's encoding.
pub trait Encode {
    /// Appends the value.
    fn encode(&self, writer: &mut Writer);
}

macro_rules! primitives {
    ($($name:ident),*) => {$(
        impl Decode for $name {
            const MIN_LEN: usize = size_of::<$name>();

            fn decode(reader: &mut Reader<'_>) -> Result<Self> {
                reader.$name()
            }
        }

        impl Encode for $name {
            fn encode(&self, writer: &mut Writer) {
                writer.$name(*self);
            }
        }
    )*};
}

primitives!(u8, u16, u32, u64, i8, i16, i32, i64, bool);

impl<T: Encode + ?Sized> Encode for &T {
    fn encode(&self, writer: &mut Writer) {
        (**self).encode(writer);
    }
}

impl Encode for str {
    fn encode(&self, writer: &mut Writer) {
        writer.str(self);
    }
}

impl Encode for String {
    fn encode(&self, writer: &mut Writer) {
        writer.str(self);
    }
}

impl Decode for String {
    const MIN_LEN: usize = 4;

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        reader.str().map(Self::from)
    }
}

/// A blob.
impl Encode for Bytes {
    fn encode(&self, writer: &mut Writer) {
        writer.blob(self);
    }
}

/// A blob, copied out of the reader's bytes.
impl Decode for Bytes {
    const MIN_LEN: usize = 4;

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        reader.blob().map(Self::copy_from_slice)
    }
}

/// Fixed bytes without a length.
impl<const N: usize> Encode for [u8; N] {
    fn encode(&self, writer: &mut Writer) {
        writer.raw(self);
    }
}

/// Fixed bytes without a length.
impl<const N: usize> Decode for [u8; N] {
    const MIN_LEN: usize = N;

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        reader.array()
    }
}

impl<A: Encode, B: Encode> Encode for (A, B) {
    fn encode(&self, writer: &mut Writer) {
        self.0.encode(writer);
        self.1.encode(writer);
    }
}

impl<A: Decode, B: Decode> Decode for (A, B) {
    const MIN_LEN: usize = A::MIN_LEN + B::MIN_LEN;

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        Ok((A::decode(reader)?, B::decode(reader)?))
    }
}

/// A byte that says whether the value follows.
impl<T: Encode> Encode for Option<T> {
    fn encode(&self, writer: &mut Writer) {
        writer.bool(self.is_some());
        if let Some(value) = self {
            value.encode(writer);
        }
    }
}

/// A byte that says whether the value follows.
impl<T: Decode> Decode for Option<T> {
    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        reader.bool()?.then(|| T::decode(reader)).transpose()
    }
}

impl<T: Encode> Encode for [T] {
    fn encode(&self, writer: &mut Writer) {
        writer.count(self.len());
        for item in self {
            item.encode(writer);
        }
    }
}

impl<T: Encode> Encode for Vec<T> {
    fn encode(&self, writer: &mut Writer) {
        self.as_slice().encode(writer);
    }
}

impl<T: Decode> Decode for Vec<T> {
    const MIN_LEN: usize = 4;

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let count = reader.count(T::MIN_LEN)?;
        let mut items = Self::with_capacity(reservable::<T>(count, reader));
        for _ in 0..count {
            items.push(T::decode(reader)?);
        }
        Ok(items)
    }
}

impl<A: Array> Encode for SmallVec<A>
where
    A::Item: Encode,
{
    fn encode(&self, writer: &mut Writer) {
        self.as_slice().encode(writer);
    }
}

impl<A: Array> Decode for SmallVec<A>
where
    A::Item: Decode,
{
    const MIN_LEN: usize = 4;

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let count = reader.count(A::Item::MIN_LEN)?;
        let mut items = Self::with_capacity(reservable::<A::Item>(count, reader));
        for _ in 0..count {
            items.push(A::Item::decode(reader)?);
        }
        Ok(items)
    }
}

impl<T: Encode> Encode for BTreeSet<T> {
    fn encode(&self, writer: &mut Writer) {
        writer.count(self.len());
        for item in self {
            item.encode(writer);
        }
    }
}

impl<T: Decode + Ord> Decode for BTreeSet<T> {
    const MIN_LEN: usize = 4;

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let count = reader.count(T::MIN_LEN)?;
        (0..count).map(|_| T::decode(reader)).collect()
    }
}

impl<K: Encode, V: Encode> Encode for BTreeMap<K, V> {
    fn encode(&self, writer: &mut Writer) {
        writer.count(self.len());
        for (key, value) in self {
            key.encode(writer);
            value.encode(writer);
        }
    }
}

impl<K: Decode + Ord, V: Decode> Decode for BTreeMap<K, V> {
    const MIN_LEN: usize = 4;

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let count = reader.count(K::MIN_LEN + V::MIN_LEN)?;
        (0..count).map(|_| <(K, V)>::decode(reader)).collect()
    }
}

impl<K: Decode + Eq + Hash, V: Decode, S: BuildHasher + Default> Decode for HashMap<K, V, S> {
    const MIN_LEN: usize = 4;

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let count = reader.count(K::MIN_LEN + V::MIN_LEN)?;
        (0..count).map(|_| <(K, V)>::decode(reader)).collect()
    }
}

/// How many items may be reserved at once, so that a count never asks for more memory than the
/// bytes it came with.
fn reservable<T>(count: usize, reader: &Reader<'_>) -> usize {
    count.min(reader.remaining() / size_of::<T>().max(1))
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, btree_set, vec};
    use proptest::prelude::*;

    use super::*;

    fn round_trip<T: Encode + Decode + PartialEq + core::fmt::Debug>(value: &T) {
        let bytes = Writer::encode(value);
        assert_eq!(&T::decode_all("value", &bytes).unwrap(), value);
        for len in 0..bytes.len() {
            assert!(
                T::decode_all("value", &bytes[..len]).is_err(),
                "cut at {len} of {bytes:?}"
            );
        }
    }

    proptest! {
        // Every value is also tried cut at every byte, which takes its length squared.
        #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]
        #[test]
        fn what_is_written_is_read(
            numbers in vec(any::<u64>(), 0..20),
            names in btree_map(any::<String>(), vec(any::<i32>(), 0..5), 0..5),
            set in btree_set(any::<u16>(), 0..20),
            pair: (i64, Option<bool>),
            blob in vec(any::<u8>(), 0..100),
        ) {
            round_trip(&numbers);
            round_trip(&names);
            round_trip(&set);
            round_trip(&pair);
            round_trip(&Bytes::from(blob));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = BTreeMap::<String, Vec<Option<u32>>>::decode_all("anything", &bytes);
            let _ = Vec::<String>::decode_all("anything", &bytes);
        }
    }

    #[test]
    fn collections_are_counted_little_endian() {
        assert_eq!(Writer::encode(&vec![1u16, 2])[..], [2, 0, 0, 0, 1, 0, 2, 0]);
        assert_eq!(Writer::encode(&Some(3u8))[..], [1, 3]);
        assert_eq!(Writer::encode("ab")[..], [2, 0, 0, 0, b'a', b'b']);
    }

    #[test]
    fn a_count_reserves_no_more_than_its_bytes() {
        let mut bytes = 1000u32.to_le_bytes().to_vec();
        bytes.extend([0; 1000]);
        let mut reader = Reader::new("list", &bytes);
        let count = reader.count(1).unwrap();
        assert_eq!(reservable::<[u64; 100]>(count, &reader), 1);
    }
}
