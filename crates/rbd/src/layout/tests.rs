use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// The object and the offset in it of every byte of an image, by dealing out the bytes one by one
/// as the picture at the top of the module says.
fn deal(layout: &Layout, size: u64) -> Vec<(u64, u64)> {
    let mut places = Vec::new();
    let mut set = 0;
    let mut fill = vec![0; usize::try_from(layout.stripe_count).unwrap()];
    let mut turn = 0;
    while (places.len() as u64) < size {
        let object_no = set * layout.stripe_count + turn as u64;
        for _ in 0..layout.stripe_unit {
            places.push((object_no, fill[turn]));
            fill[turn] += 1;
        }
        turn = (turn + 1) % fill.len();
        if fill.iter().all(|len| *len == layout.object_size()) {
            set += 1;
            fill.fill(0);
        }
    }
    places.truncate(usize::try_from(size).unwrap());
    places
}

/// Layouts of small objects: the arithmetic does not depend on the size, but byte by byte does.
fn small_layouts() -> impl Strategy<Value = Layout> {
    (2u8..7, 0u32..7, 1u64..6).prop_map(|(order, unit, stripe_count)| Layout {
        order,
        stripe_unit: 1 << unit.min(order.into()),
        stripe_count,
    })
}

fn ranges_of_extents(layout: &Layout, offset: u64, len: u64) -> Vec<ObjectRange> {
    layout
        .extents(offset, len)
        .map(|extent| ObjectRange {
            object_no: extent.object_no,
            offset: extent.offset,
            len: extent.len,
        })
        .collect()
}

proptest! {
    #[test]
    fn every_byte_is_where_dealing_puts_it(layout in small_layouts(), size in 0u64..1500) {
        for (byte, place) in deal(&layout, size).into_iter().enumerate() {
            prop_assert_eq!(layout.locate(byte as u64), place);
            prop_assert_eq!(layout.image_offset(place.0, place.1), Some(byte as u64));
        }
    }

    #[test]
    fn extents_hold_every_byte_once(
        layout in small_layouts(),
        offset in 0u64..1000,
        len in 0u64..500,
    ) {
        let places = deal(&layout, offset + len);
        let mut seen = BTreeMap::new();
        let mut objects = Vec::new();
        for extent in layout.extents(offset, len) {
            let total: u64 = extent.pieces.iter().map(|piece| piece.len).sum();
            prop_assert_eq!(total, extent.len);
            objects.push(extent.object_no);
            let mut in_object = extent.offset;
            for piece in &extent.pieces {
                for at in piece.at..piece.at + piece.len {
                    prop_assert_eq!(seen.insert(at, (extent.object_no, in_object)), None);
                    in_object += 1;
                }
            }
        }
        let expected: BTreeMap<u64, (u64, u64)> =
            (0..len).map(|at| (at, places[usize::try_from(offset + at).unwrap()])).collect();
        prop_assert_eq!(seen, expected);
        let count = objects.len();
        objects.sort_unstable();
        objects.dedup();
        prop_assert_eq!(objects.len(), count, "an object came twice");
    }

    #[test]
    fn ranges_are_extents_without_pieces(
        layout in small_layouts(),
        offset in 0u64..1000,
        len in 0u64..2000,
    ) {
        let key = |range: &ObjectRange| range.object_no;
        let mut ranges: Vec<_> = layout.ranges(offset, len).collect();
        let mut expected = ranges_of_extents(&layout, offset, len);
        ranges.sort_unstable_by_key(key);
        expected.sort_unstable_by_key(key);
        prop_assert_eq!(ranges, expected);
    }

    #[test]
    fn objects_are_counted_as_they_are_touched(layout in small_layouts(), size in 0u64..1500) {
        let highest = deal(&layout, size).into_iter().map(|(object_no, _)| object_no + 1).max();
        prop_assert_eq!(layout.object_count(size), highest.unwrap_or(0));
    }

    #[test]
    fn pieces_of_adjacent_units_are_one(layout in small_layouts(), offset in 0u64..1000, len in 0u64..500) {
        for extent in layout.extents(offset, len) {
            for pair in extent.pieces.windows(2) {
                prop_assert!(pair[0].at + pair[0].len < pair[1].at);
            }
        }
    }
}

#[test]
fn the_default_layout_cuts_at_objects() {
    let layout = Layout::plain(22).unwrap();
    let extents: Vec<_> = layout.extents((4 << 20) - 512, 1024).collect();
    assert_eq!(extents.len(), 2);
    assert_eq!(
        (extents[0].object_no, extents[0].offset, extents[0].len),
        (0, (4 << 20) - 512, 512)
    );
    assert_eq!(
        (extents[1].object_no, extents[1].offset, extents[1].len),
        (1, 0, 512)
    );
    assert_eq!(extents[1].pieces[0], Piece { at: 512, len: 512 });
    assert_eq!(layout.object_count(128 << 20), 32);
    assert!(layout.is_plain());
}

#[test]
fn huge_images_do_not_overflow() {
    let layout = Layout::new(25, 512, 1 << 30).unwrap();
    assert_eq!(layout.ranges(Layout::MAX_SIZE - 511, 511).count(), 1);
    assert!(layout.object_count(Layout::MAX_SIZE) > 0);
    assert_eq!(layout.image_offset(u64::MAX, 0), None);
}

#[test]
fn impossible_layouts_are_refused() {
    assert_eq!(Layout::plain(11), Err(InvalidOptions::ObjectSize));
    assert_eq!(Layout::plain(26), Err(InvalidOptions::ObjectSize));
    assert_eq!(Layout::plain(200), Err(InvalidOptions::ObjectSize));
    for unit in [0, 3 << 12, 1 << 23] {
        assert!(Layout::new(22, unit, 2).is_err(), "{unit}");
    }
    assert!(Layout::new(22, 4096, 0).is_err());
    assert_eq!(
        Layout::new(22, 4096, 1 << 60),
        Err(InvalidOptions::TooLarge)
    );
}
