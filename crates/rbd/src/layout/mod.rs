//! Which bytes of an image are in which object (ceph: src/osdc/Striper.cc). Pure arithmetic.
//!
//! An image is cut into stripe units; they are dealt out to `stripe_count` objects in turn, and when
//! those are full, to the next `stripe_count` objects. Such a group of objects is a *set*. With unit
//! U of half the object size and count 3:
//!
//! ```text
//! image    U0 U1 U2 U3 U4 U5 | U6 U7 U8 ...
//!          set 0             | set 1
//! object 0   U0 U3     object 3   U6 U9
//! object 1   U1 U4     object 4   U7 U10
//! object 2   U2 U5     object 5   U8 U11
//! ```
//! By default the unit is the object size and the count is one: objects follow each other.

use std::ops::Range;

use smallvec::SmallVec;

use crate::error::InvalidOptions;

#[cfg(test)]
mod tests;

/// How an image is laid out over objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    order: u8,
    stripe_unit: u64,
    stripe_count: u64,
}

/// A range of an object, and where in a request its bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectExtent {
    /// The number of the object.
    pub object_no: u64,
    /// Where in the object the range starts, in bytes.
    pub offset: u64,
    /// The length of the range in bytes.
    pub len: u64,
    /// Where in the request the bytes of the range are, in the order in which the object has them.
    pub pieces: SmallVec<[Piece; 1]>,
}

/// A run of bytes that is contiguous in a request and in an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where in the request it starts, in bytes.
    pub at: u64,
    /// Its length in bytes.
    pub len: u64,
}

/// A range of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectRange {
    /// The number of the object.
    pub object_no: u64,
    /// Where in the object the range starts, in bytes.
    pub offset: u64,
    /// The length of the range in bytes.
    pub len: u64,
}

impl Layout {
    /// The object sizes that new images may have, as powers of two.
    pub const ORDERS: Range<u8> = 12..26;
    /// No image is larger, in bytes: offsets are signed in places.
    pub const MAX_SIZE: u64 = i64::MAX.cast_unsigned();

    /// A layout of objects of `1 << order` bytes, filled in units of `stripe_unit` bytes dealt out
    /// to `stripe_count` objects.
    ///
    /// # Errors
    /// If the order is not one of [`ORDERS`](Self::ORDERS), if the unit does not divide the object
    /// size, or if a set of objects would be too large to count its bytes.
    pub fn new(order: u8, stripe_unit: u64, stripe_count: u64) -> Result<Self, InvalidOptions> {
        if !Self::ORDERS.contains(&order) {
            return Err(InvalidOptions::ObjectSize);
        }
        let object_size: u64 = 1 << order;
        if stripe_unit == 0 || !object_size.is_multiple_of(stripe_unit) {
            return Err(InvalidOptions::StripeUnit {
                unit: stripe_unit,
                object_size,
            });
        }
        if stripe_count == 0 {
            return Err(InvalidOptions::HalfStriped);
        }
        match object_size.checked_mul(stripe_count) {
            Some(set) if set <= Self::MAX_SIZE => Ok(Self {
                order,
                stripe_unit,
                stripe_count,
            }),
            _ => Err(InvalidOptions::TooLarge),
        }
    }

    /// The default: objects of `1 << order` bytes one after another.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn plain(order: u8) -> Result<Self, InvalidOptions> {
        if !Self::ORDERS.contains(&order) {
            return Err(InvalidOptions::ObjectSize);
        }
        Self::new(order, 1 << order, 1)
    }

    /// The object size as a power of two.
    pub const fn order(&self) -> u8 {
        self.order
    }

    /// The size of an object in bytes.
    pub const fn object_size(&self) -> u64 {
        1 << self.order
    }

    /// How many bytes go to an object before it is the next one's turn.
    pub const fn stripe_unit(&self) -> u64 {
        self.stripe_unit
    }

    /// How many objects take turns.
    pub const fn stripe_count(&self) -> u64 {
        self.stripe_count
    }

    /// Whether objects simply follow each other.
    pub const fn is_plain(&self) -> bool {
        self.stripe_count == 1 && self.stripe_unit == self.object_size()
    }

    /// The bytes of the image that a set of objects holds.
    pub const fn set_size(&self) -> u64 {
        self.object_size() * self.stripe_count
    }

    /// How many objects an image of `size` bytes can have. None has this number or a higher one.
    pub const fn object_count(&self, size: u64) -> u64 {
        let full_sets = size / self.set_size();
        let rest = size % self.set_size();
        let units = rest.div_ceil(self.stripe_unit);
        let touched = if units < self.stripe_count {
            units
        } else {
            self.stripe_count
        };
        full_sets
            .saturating_mul(self.stripe_count)
            .saturating_add(touched)
    }

    /// Where in the image the byte at `offset` of an object is.
    ///
    /// `None` if it would be beyond what can be numbered.
    pub fn image_offset(&self, object_no: u64, offset: u64) -> Option<u64> {
        let set = object_no / self.stripe_count;
        let position = object_no % self.stripe_count;
        let stripe = offset / self.stripe_unit;
        let unit = stripe * self.stripe_count + position;
        set.checked_mul(self.set_size())?
            .checked_add(unit.checked_mul(self.stripe_unit)?)?
            .checked_add(offset % self.stripe_unit)
    }

    /// The object and the offset in it where the byte at `offset` of the image is.
    pub const fn locate(&self, offset: u64) -> (u64, u64) {
        let unit = offset / self.stripe_unit;
        let stripe = unit / self.stripe_count;
        let position = unit % self.stripe_count;
        let stripes_per_object = self.object_size() / self.stripe_unit;
        let set = stripe / stripes_per_object;
        let object_no = set * self.stripe_count + position;
        let in_object =
            (stripe % stripes_per_object) * self.stripe_unit + offset % self.stripe_unit;
        (object_no, in_object)
    }

    /// The extent that `len` bytes at `offset` of the image are, if they lie within one stripe unit: most
    /// requests do.
    pub(crate) fn only_extent(&self, offset: u64, len: u64) -> Option<ObjectExtent> {
        if len == 0 || len > self.stripe_unit - offset % self.stripe_unit {
            return None;
        }
        let (object_no, in_object) = self.locate(offset);
        Some(ObjectExtent {
            object_no,
            offset: in_object,
            len,
            pieces: SmallVec::from_iter([Piece { at: 0, len }]),
        })
    }

    /// The ranges of objects that make up `len` bytes at `offset` of the image, and which bytes of a
    /// request for them each holds. Every object comes once.
    ///
    /// The end must not be beyond [`MAX_SIZE`](Self::MAX_SIZE).
    pub fn extents(
        &self,
        offset: u64,
        len: u64,
    ) -> impl Iterator<Item = ObjectExtent> + Send + use<> {
        let layout = *self;
        self.sets(offset, len)
            .flat_map(move |(start, end)| layout.set_extents(start, end, start - offset))
    }

    /// As [`extents`](Self::extents) without the pieces; does not take time for every stripe unit.
    pub fn ranges(
        &self,
        offset: u64,
        len: u64,
    ) -> impl Iterator<Item = ObjectRange> + Send + use<> {
        let layout = *self;
        self.sets(offset, len).flat_map(move |(start, end)| {
            let first = layout.locate(start).0;
            let whole_set = end - start == layout.set_size();
            let count = if whole_set { layout.stripe_count } else { 0 };
            let whole = (first..first + count).map(move |object_no| ObjectRange {
                object_no,
                offset: 0,
                len: layout.object_size(),
            });
            let parts = if whole_set {
                SmallVec::new()
            } else {
                layout.set_extents(start, end, 0)
            };
            whole.chain(parts.into_iter().map(|extent| ObjectRange {
                object_no: extent.object_no,
                offset: extent.offset,
                len: extent.len,
            }))
        })
    }

    /// Cuts a range of the image where one set of objects ends and the next begins.
    fn sets(&self, offset: u64, len: u64) -> impl Iterator<Item = (u64, u64)> + Send + use<> {
        let set_size = self.set_size();
        let end = offset.saturating_add(len);
        let mut next = offset;
        std::iter::from_fn(move || {
            if next >= end {
                return None;
            }
            let start = next;
            let left = set_size - start % set_size;
            next = start.saturating_add(left).min(end);
            Some((start, next))
        })
    }

    /// The extents of a range of the image that lies within one set; its first byte is byte `at` of
    /// the request.
    fn set_extents(&self, start: u64, end: u64, at: u64) -> SmallVec<[ObjectExtent; 1]> {
        let mut extents: SmallVec<[ObjectExtent; 1]> = SmallVec::new();
        let mut next = start;
        let mut turn = 0;
        while next < end {
            let len = (self.stripe_unit - next % self.stripe_unit).min(end - next);
            let piece = Piece {
                at: at + (next - start),
                len,
            };
            // Objects take turns: an object met before has just been passed by all others.
            match extents.get_mut(turn) {
                Some(extent) => extent.push(piece),
                None => {
                    let (object_no, offset) = self.locate(next);
                    extents.push(ObjectExtent {
                        object_no,
                        offset,
                        len,
                        pieces: SmallVec::from_iter([piece]),
                    });
                }
            }
            next += len;
            turn += 1;
            if turn as u64 == self.stripe_count {
                turn = 0;
            }
        }
        extents
    }
}

impl ObjectExtent {
    fn push(&mut self, piece: Piece) {
        self.len += piece.len;
        match self.pieces.last_mut() {
            Some(last) if last.at + last.len == piece.at => last.len += piece.len,
            _ => self.pieces.push(piece),
        }
    }
}
