// SPDX-License-Identifier: GPL-2.0

//! KUnit suite of limits that change while there are pages, and of what root may set besides.

use super::*;
use crate::{
    test_pages::noisy as page,
    tmem::PoolId, //
};

const RAM: usize = 1000;

/// What is set to begin with: 100 frames for each side.
const FIRST: Percent = Percent {
    ephemeral: 10,
    persistent: 10,
    together: 20,
};

fn new_store() -> Result<Pin<KBox<Store>>> {
    KBox::try_pin_init(
        Store::new(
            Policy::new(RAM, FIRST).with_admission(|| policy::Admission::All),
            // The order in which pages are evicted, by their number.
            |back, _| {
                GONE.fetch_add(1, Relaxed);
                LAST.store(back.index, Relaxed);
                true
            },
            || usize::MAX,
            || Mode::Off,
        ),
        GFP_KERNEL,
    )
}

/// Pages evicted, and the number of the last one.
static GONE: Atomic<u32> = Atomic::new(0);
static LAST: Atomic<u32> = Atomic::new(0);

fn back(index: u32) -> BackRef {
    BackRef {
        pool: PoolId(1),
        hash: 2,
        index,
    }
}

/// Puts `count` pages of more than half a frame, numbered from `first` on; returns the numbers of
/// those that were taken, and their handles.
fn fill(store: &Store, kind: Kind, first: u32, count: u32) -> Result<KVec<(u32, Handle)>> {
    let mut handles = KVec::new();
    for index in first..first + count {
        if let Ok(handle) = store.create(kind, &*page(index, 2500)?, back(index)) {
            handles.push((index, handle), GFP_KERNEL)?;
        }
    }
    Ok(handles)
}

#[kernel::macros::kunit_tests(zcache_limits)]
mod tests {
    use super::*;

    /// Whoever lowers the limit evicts, the oldest first, in pieces or in one.
    #[test]
    fn a_lower_limit_evicts_the_oldest() -> Result {
        for (ephemeral, left) in [(9, 90), (3, 30), (1, 10)] {
            let store = new_store()?;
            fill(&store, Kind::Ephemeral, 0, 100)?;
            assert_eq!(store.zbud().frames(), 100);
            let gone = GONE.load(Relaxed);
            store.set_percent(Percent { ephemeral, ..FIRST })?;
            assert_eq!(store.limit(), left);
            assert_eq!(store.zbud().frames(), left);
            let evicted = GONE.load(Relaxed) - gone;
            // CAST: At most 100.
            assert_eq!(evicted as usize, 100 - left);
            assert_eq!(LAST.load(Relaxed), evicted - 1);
            // It holds for those who come.
            fill(&store, Kind::Ephemeral, 100, 100)?;
            assert_eq!(store.zbud().frames(), left);
        }
        Ok(())
    }

    /// The tables were made for the first limit, and know all that was there.
    #[test]
    fn a_higher_limit_has_room_at_once() -> Result {
        let store = new_store()?;
        let mut old = fill(&store, Kind::Persistent, 0, 1000)?;
        fill(&store, Kind::Ephemeral, 0, 1000)?;
        assert_eq!(store.frames(), 200);
        let before = store.metadata_bytes();
        store.set_percent(Percent {
            ephemeral: 60,
            persistent: 30,
            together: 90,
        })?;
        assert_eq!((store.limit(), store.persistent().limit()), (600, 300));
        let new = fill(&store, Kind::Persistent, 1000, 1000)?;
        fill(&store, Kind::Ephemeral, 1000, 1000)?;
        assert_eq!(store.zbud().frames(), 600);
        assert_eq!(store.persistent().stats().frames, 300);
        assert!(store.metadata_bytes() > before);
        let mut out = page(0, 0)?;
        for (index, handle) in old.iter() {
            store.get_data(Kind::Persistent, *handle, &mut out)?;
            assert!(*out == *page(*index, 2500)?);
        }
        old.extend_from_slice(&new, GFP_KERNEL)?;
        for (_, handle) in old {
            store.free(Kind::Persistent, handle);
        }
        assert_eq!(store.persistent().stats().frames, 0);
        assert_eq!(store.persistent().stats().stale, 0);
        Ok(())
    }

    /// Nobody who leaves the limits alone, or lowers them, pays for tables.
    #[test]
    fn tables_grow_only_for_a_higher_limit() -> Result {
        let store = new_store()?;
        let before = store.metadata_bytes();
        store.set_percent(FIRST)?;
        store.set_percent(Percent {
            ephemeral: 1,
            persistent: 1,
            together: 1,
        })?;
        store.set_percent(FIRST)?;
        assert_eq!(store.metadata_bytes(), before);
        Ok(())
    }

    /// Persistent pages stay, and nothing comes until enough of them are gone.
    #[test]
    fn persistent_pages_stay_under_a_lower_limit() -> Result {
        let store = new_store()?;
        let mut handles = fill(&store, Kind::Persistent, 0, 120)?;
        assert_eq!(handles.len(), 120);
        let lower = Percent {
            persistent: 5,
            ..FIRST
        };
        store.set_percent(lower)?;
        let frames = || store.persistent().stats().frames;
        assert!(frames() > 50);
        // Not even where there is a hole.
        let full = store.persistent().stats().full;
        let (_, hole) = handles.pop().ok_or(EINVAL)?;
        store.free(Kind::Persistent, hole);
        assert!(store
            .create(Kind::Persistent, &*page(7, 500)?, back(0))
            .is_err());
        assert_eq!(store.persistent().stats().full, full + 1);
        while frames() > 50 {
            store.free(Kind::Persistent, handles.pop().ok_or(EINVAL)?.1);
        }
        // Within the limit holes count, but frames only below the gap.
        fill(&store, Kind::Persistent, 200, 100)?;
        assert!(frames() <= 50);
        let mut out = page(0, 0)?;
        for (index, handle) in handles.iter() {
            store.get_data(Kind::Persistent, *handle, &mut out)?;
            assert!(*out == *page(*index, 2500)?);
        }
        store.set_percent(FIRST)?;
        let more = fill(&store, Kind::Persistent, 300, 20)?;
        assert_eq!(more.len(), 20);
        assert!(frames() > 50);
        Ok(())
    }

    /// Frames that are half empty are emptied by whoever lowers the limit, and no page is lost.
    #[test]
    fn a_lower_limit_moves_persistent_pages_together() -> Result {
        let store = new_store()?;
        let handles = fill(&store, Kind::Persistent, 0, 120)?;
        let mut kept = KVec::new();
        for (index, handle) in handles {
            match index % 4 {
                0 => kept.push((index, handle), GFP_KERNEL)?,
                _ => store.free(Kind::Persistent, handle),
            }
        }
        let before = store.persistent().stats().frames;
        store.set_percent(Percent {
            persistent: 2,
            ..FIRST
        })?;
        let after = store.persistent().stats();
        assert!(after.frames < before && after.compacted > 0);
        assert_eq!(after.pages, 30);
        let mut out = page(0, 0)?;
        for (index, handle) in kept {
            store.get_data(Kind::Persistent, handle, &mut out)?;
            assert!(*out == *page(index, 2500)?);
        }
        Ok(())
    }

    /// Where both together are at their limit, a persistent page takes an ephemeral frame; and so
    /// do lower limits for both.
    #[test]
    fn ephemeral_frames_make_room() -> Result {
        let store = new_store()?;
        let all = Percent {
            together: 10,
            ..FIRST
        };
        store.set_percent(all)?;
        fill(&store, Kind::Ephemeral, 0, 100)?;
        assert_eq!(store.frames(), 100);
        for index in 0..40 {
            store.create(Kind::Persistent, &*page(index, 2500)?, back(index))?;
            assert!(store.frames() <= 100);
        }
        let taken = store.persistent().stats().frames;
        assert!(taken > 20);
        assert_eq!(store.persistent().stats().taken, taken);
        store.set_percent(Percent { together: 4, ..all })?;
        assert!(store.frames() <= 40);
        assert_eq!(store.persistent().stats().frames, taken);
        // All of it may be persistent, and no more.
        fill(&store, Kind::Persistent, 100, 100)?;
        assert_eq!(store.persistent().stats().frames, 40);
        assert_eq!(store.zbud().frames(), 0);
        Ok(())
    }

    /// No memory for larger tables: an error, and all limits are as they were.
    #[test]
    fn allocation_failures() -> Result {
        let higher = Percent {
            ephemeral: 60,
            persistent: 30,
            together: 90,
        };
        for step in 0..20 {
            let store = new_store()?;
            match step {
                0 => store.zbud().fail_after(1),
                1 | 2 => store.persistent().xvmalloc().fail_after(step),
                step => store.dedup().fail_at(step - 2),
            }
            let result = store.set_percent(higher);
            // There are 16 shards.
            if step == 19 {
                assert!(result.is_ok());
                continue;
            }
            assert_eq!(result, Err(ENOMEM));
            assert_eq!((store.limit(), store.together()), (100, 200));
            fill(&store, Kind::Persistent, 0, 400)?;
            fill(&store, Kind::Ephemeral, 0, 400)?;
            assert_eq!(store.zbud().frames(), 100);
            assert_eq!(store.persistent().stats().frames, 100);
            store.set_percent(higher)?;
            assert_eq!(store.limit(), 600);
        }
        Ok(())
    }

    /// What zcache of Linux 3.1 let root set: each refusal has its own count.
    #[test]
    fn tunables_refuse_and_count() -> Result {
        let store = new_store()?;
        let tunables = store.persistent().tunables();
        let put = |random| store.create(Kind::Persistent, &*page(1, random)?, back(0));
        let counts = || {
            let stats = store.persistent().stats();
            (stats.poor, stats.mean_poor, stats.too_many, stats.full)
        };
        tunables.max_zsize.set(2000)?;
        assert_eq!(put(2500).err(), Some(E2BIG));
        assert_eq!(counts(), (1, 0, 0, 0));
        assert!(put(1500).is_ok());
        tunables.max_zsize.set(3584)?;

        // The mean is about 1500 now.
        tunables.max_mean_zsize.set(1000)?;
        assert_eq!(put(2500).err(), Some(E2BIG));
        assert_eq!(counts(), (1, 1, 0, 0));
        assert!(put(100).is_ok());
        // Now it is lower.
        assert!(put(2500).is_ok());
        tunables.max_mean_zsize.set(3584)?;

        // 1 % of RAM are ten pages; there are three.
        tunables.page_count_policy_percent.set(1)?;
        for _ in 0..8 {
            assert!(put(100).is_ok());
        }
        assert_eq!(put(100).err(), Some(ENOSPC));
        assert_eq!(counts(), (1, 1, 1, 0));
        tunables.page_count_policy_percent.set(0)?;
        assert!(put(100).is_ok());
        Ok(())
    }
}
