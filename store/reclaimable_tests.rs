// SPDX-License-Identifier: GPL-2.0

//! The kernel counts frames of file pages as memory that it can have back, and no others: exactly.
//!
//! Not with more than one processor, each of which keeps some of the count to itself for a while.

use super::*;
use crate::{
    frame::reclaimable_pages,
    test_pages::noisy, //
};
use kernel::page::PAGE_SIZE;

const BACK: BackRef = BackRef {
    pool: PoolId(1),
    hash: 2,
    index: 3,
};

fn new_store(frames: usize) -> Result<Pin<KBox<Store>>> {
    let ram = frames * 100;
    KBox::try_pin_init(
        Store::new(
            Policy::new(ram, Percent::files(1).and_persistent(1)),
            |_, _| true,
            || usize::MAX,
            || Mode::Off,
        ),
        GFP_KERNEL,
    )
}

/// A page that fills more than half a frame.
fn page(seed: u32) -> Result<KBox<PageBytes>> {
    noisy(seed, PAGE_SIZE * 5 / 8)
}

#[kernel::macros::kunit_tests(zcache_reclaimable)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_file_pages_count_and_all_others_do_not() -> Result {
        let before = reclaimable_pages();
        let counted = || reclaimable_pages() - before;
        let store = new_store(64)?;
        let xv = store.persistent().xvmalloc();
        let mut handles = KVec::new();
        for seed in 0..20 {
            handles.push(
                store.create(Kind::Ephemeral, &*page(seed)?, BACK)?,
                GFP_KERNEL,
            )?;
            assert_eq!(counted(), store.zbud().frames());
        }
        assert!(counted() >= 20);
        // Swapped pages have frames of their own.
        let first = store.create(Kind::Persistent, &*page(100)?, BACK)?;
        assert!(xv.frames() > 0);
        assert_eq!(counted(), store.zbud().frames());
        // The system has none: the frame of a file page goes over to the other side.
        store.zbud().drop_spares();
        xv.drop_spares();
        xv.fail_after(1);
        let held = store.zbud().frames();
        let second = store.create(Kind::Persistent, &*page(101)?, BACK)?;
        assert_eq!(store.persistent().stats().taken, 1);
        assert_eq!(store.zbud().frames(), held - 1);
        assert_eq!(counted(), held - 1);
        // Eviction, and frames that wait for puts.
        store.shrink(5);
        assert_eq!(counted(), store.zbud().frames());
        store.zbud().set_keep(8);
        store.top_up();
        assert_eq!(counted(), store.zbud().frames());
        // Empty: zero, whatever the other side holds.
        store.relieve();
        assert_eq!((counted(), store.zbud().frames()), (0, 0));
        assert!(xv.frames() > 0);
        store.free(Kind::Persistent, first);
        store.free(Kind::Persistent, second);
        assert_eq!(counted(), 0);
        Ok(())
    }

    #[test]
    fn nothing_is_left_when_the_store_goes_or_an_allocation_fails() -> Result {
        let before = reclaimable_pages();
        let store = new_store(64)?;
        for allocation in [1, 2] {
            store.zbud().fail_after(allocation);
            let failed = store.create(Kind::Ephemeral, &*page(allocation)?, BACK);
            assert!(failed.is_err());
            assert_eq!(reclaimable_pages() - before, store.zbud().frames());
        }
        store.zbud().fail_after(0);
        for seed in 0..10 {
            store.create(Kind::Ephemeral, &*page(seed)?, BACK)?;
        }
        assert!(reclaimable_pages() - before >= 10);
        drop(store);
        assert_eq!(reclaimable_pages(), before);
        Ok(())
    }
}
