// SPDX-License-Identifier: GPL-2.0

//! Lists of segments, which make up tables that grow by one segment at a time.
//!
//! A list has room for all segments that its table may ever have, so that a segment is added
//! without an allocation. Where a table may become larger than was thought, its list needs more
//! room:
//!
//! ```ignore
//! let mut larger = segments::with_room(most)?;
//! segments::adopt(&mut table.lock().segments, &mut larger);
//! ```

use kernel::prelude::*;

/// Moves what is in `segments` to `larger`, which becomes the list; the old one comes back in its
/// place, to be dropped without a lock. Nothing happens unless it is larger.
///
/// Moves one pointer a segment. Does not allocate or sleep.
pub(crate) fn adopt<T>(segments: &mut KVVec<T>, larger: &mut KVVec<T>) {
    if larger.capacity() <= segments.capacity() || !larger.is_empty() {
        return;
    }
    core::mem::swap(segments, larger);
    for segment in larger.drain_all() {
        // Has room for all of them, as it is larger.
        let _ = segments.push_within_capacity(segment);
    }
}

/// An empty list with room for `most` segments. May sleep.
pub(crate) fn with_room<T>(most: usize) -> Result<KVVec<T>> {
    Ok(KVVec::with_capacity(most, GFP_KERNEL)?)
}

#[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
#[kernel::macros::kunit_tests(zcache_segments)]
mod tests {
    use super::*;

    #[test]
    fn a_larger_list_has_the_same_segments() -> Result {
        for len in 0..4_usize {
            for room in 0..9 {
                let mut list = with_room(4)?;
                for number in 0..len {
                    list.push(KBox::new(number, GFP_KERNEL)?, GFP_KERNEL)?;
                }
                let mut larger = with_room(room)?;
                adopt(&mut list, &mut larger);
                assert!(larger.is_empty());
                assert_eq!(list.capacity(), room.max(4));
                assert!(list.iter().map(|number| **number).eq(0..len));
            }
        }
        Ok(())
    }
}
