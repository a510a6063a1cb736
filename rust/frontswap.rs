// SPDX-License-Identifier: GPL-2.0

//! Frontswap: a store of pages that would be written to a swap device.
//!
//! What the hooks promise and demand stands in the C header.
//!
//! C header: [`include/linux/frontswap.h`](srctree/include/linux/frontswap.h)

use kernel::{
    prelude::*,
    ThisModule, //
};

use crate::folio::FolioPage;

/// A place for one page in a swap area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// The number of the swap area.
    pub(crate) area: u32,
    /// The number of the slot in it.
    pub(crate) offset: u64,
}

/// A store of swapped-out pages. One serves the whole system.
///
/// All operations run in task context, one at a time for each slot. What may sleep must not enter
/// reclaim.
pub(crate) trait Store: 'static {
    /// Stores a copy of a page and returns whether it did. The copy then stays until it is loaded
    /// or invalidated; an older one is gone afterwards in any case. May sleep.
    fn store_page(slot: Slot, page: FolioPage) -> bool;

    /// Fills a page, forgets the copy and returns true. If the copy cannot be read, keeps it and
    /// returns false, now and every time: there is nothing else to read. May sleep.
    fn load_page(slot: Slot, page: FolioPage) -> bool;

    /// The same for a page that is about to be written to its slot, so that the memory of its copy
    /// becomes free. May sleep, but must need no memory.
    fn evict_page(slot: Slot, page: FolioPage) -> bool;

    /// Drops the copy if there is one. Does not sleep: interrupts may be off.
    fn invalidate_page(slot: Slot);
}

/// Makes `T` the system's store, or lets it take pages again after [`stop`]. May sleep.
///
/// Fails with [`EBUSY`] if zswap is on or holds pages, with [`EEXIST`] if there is another store,
/// with [`ENOMEM`], and with [`EOPNOTSUPP`] if the kernel is built without the hooks.
pub(crate) fn start<T: Store>(module: &'static ThisModule) -> Result {
    hooks::start::<T>(module)
}

/// Lets no more pages in. Those that are stored can still be loaded. May sleep.
///
/// A store that has begun may still end well.
pub(crate) fn stop() {
    hooks::stop();
}

/// How many swap areas take part. May sleep.
pub(crate) fn areas() -> u32 {
    hooks::areas()
}

#[cfg(CONFIG_FRONTSWAP)]
mod hooks {
    use core::{
        marker::PhantomData,
        ptr::NonNull, //
    };

    use kernel::{
        bindings,
        error::to_result,
        ffi::{
            c_uint,
            c_ulong, //
        }, //
    };

    use super::*;
    use crate::given::Given;

    /// The table that was given to the kernel.
    static OPS: Given<bindings::frontswap_ops> = Given::new();

    pub(super) fn start<T: Store>(module: &'static ThisModule) -> Result {
        let table = OPS.table(|| Table::<T>::ops(module))?;
        // SAFETY: The table is valid, and stays so.
        to_result(unsafe { bindings::frontswap_start(table) })
    }

    pub(super) fn stop() {
        // SAFETY: Changes a flag under a lock.
        unsafe { bindings::frontswap_stop() };
    }

    pub(super) fn areas() -> u32 {
        // SAFETY: Counts under a lock.
        unsafe { bindings::frontswap_areas() }
    }

    /// Builds the C table of operations for `T`.
    struct Table<T: Store>(PhantomData<T>);

    impl<T: Store> Table<T> {
        fn ops(module: &'static ThisModule) -> bindings::frontswap_ops {
            bindings::frontswap_ops {
                owner: module.as_ptr(),
                store_page: Some(Self::store_page),
                load_page: Some(Self::load_page),
                evict_page: Some(Self::evict_page),
                invalidate_page: Some(Self::invalidate_page),
            }
        }

        /// # Safety
        ///
        /// `page` must be a page of a locked folio in the swap cache that nobody writes to.
        unsafe extern "C" fn store_page(
            area: c_uint,
            offset: c_ulong,
            page: *mut bindings::page,
        ) -> bool {
            let Some(page) = NonNull::new(page) else {
                return false;
            };
            // SAFETY: The folio is locked and unmapped, and has no references but those of the
            // swap cache and of reclaim: whoever finds it now waits for the lock before writing.
            let page = unsafe { FolioPage::new(page) };
            T::store_page(slot(area, offset), page)
        }

        /// # Safety
        ///
        /// `page` must be a page of a locked folio in the swap cache that is not up to date.
        unsafe extern "C" fn load_page(
            area: c_uint,
            offset: c_ulong,
            page: *mut bindings::page,
        ) -> bool {
            let Some(page) = NonNull::new(page) else {
                return false;
            };
            // SAFETY: The folio is locked, and nobody reads a folio that is not up to date.
            let page = unsafe { FolioPage::new(page) };
            T::load_page(slot(area, offset), page)
        }

        /// # Safety
        ///
        /// As for `load_page`.
        unsafe extern "C" fn evict_page(
            area: c_uint,
            offset: c_ulong,
            page: *mut bindings::page,
        ) -> bool {
            let Some(page) = NonNull::new(page) else {
                return false;
            };
            // SAFETY: As in `load_page`.
            let page = unsafe { FolioPage::new(page) };
            T::evict_page(slot(area, offset), page)
        }

        extern "C" fn invalidate_page(area: c_uint, offset: c_ulong) {
            T::invalidate_page(slot(area, offset));
        }
    }

    fn slot(area: c_uint, offset: c_ulong) -> Slot {
        Slot {
            area,
            // CAST: Both have 64 bits; the driver depends on 64BIT.
            offset: offset as u64,
        }
    }
}

#[cfg(not(CONFIG_FRONTSWAP))]
mod hooks {
    use super::*;

    pub(super) fn start<T: Store>(_module: &'static ThisModule) -> Result {
        Err(EOPNOTSUPP)
    }

    pub(super) fn stop() {}

    pub(super) fn areas() -> u32 {
        0
    }
}

#[cfg(all(CONFIG_ZCACHE_KUNIT_TEST, CONFIG_FRONTSWAP, CONFIG_PM_SLEEP))]
#[kernel::macros::kunit_tests(zcache_frontswap)]
mod tests {
    use kernel::ffi::{
        c_int,
        c_ulong, //
    };

    use super::*;

    /// A store that nobody calls: there is no swap area.
    struct Fake;

    impl Store for Fake {
        fn store_page(_slot: Slot, _page: FolioPage) -> bool {
            false
        }

        fn load_page(_slot: Slot, _page: FolioPage) -> bool {
            false
        }

        fn evict_page(_slot: Slot, _page: FolioPage) -> bool {
            false
        }

        fn invalidate_page(_slot: Slot) {}
    }

    // What hibernation calls; from `kernel/power/power.h`, which is private.
    extern "C" {
        fn pm_notifier_call_chain_robust(prepare: c_ulong, post: c_ulong) -> c_int;
        fn pm_notifier_call_chain(event: c_ulong) -> c_int;
    }

    const PM_HIBERNATION_PREPARE: c_ulong = 1;
    const PM_POST_HIBERNATION: c_ulong = 2;
    const PM_SUSPEND_PREPARE: c_ulong = 3;
    const PM_POST_SUSPEND: c_ulong = 4;

    /// This module, as its initialisation sees it.
    fn module() -> &'static ThisModule {
        &<crate::LocalModule as kernel::ModuleMetadata>::THIS_MODULE
    }

    /// Announces a state to come, as its entry does, and takes that back; returns what was said.
    fn ask(prepare: c_ulong, post: c_ulong) -> c_int {
        // SAFETY: Calls those who want to know; may sleep.
        let answer = unsafe { pm_notifier_call_chain_robust(prepare, post) };
        if answer == 0 {
            // SAFETY: As above.
            unsafe { pm_notifier_call_chain(post) };
        }
        answer
    }

    /// UML cannot hibernate, but the question that hibernation begins with can be asked anywhere.
    #[test]
    fn hibernation_is_refused_while_pages_are_taken() -> Result {
        let hibernation = || ask(PM_HIBERNATION_PREPARE, PM_POST_HIBERNATION);
        assert_eq!(hibernation(), 0);
        start::<Fake>(module())?;
        assert_eq!(hibernation(), EBUSY.to_errno());
        assert_eq!(ask(PM_SUSPEND_PREPARE, PM_POST_SUSPEND), 0);
        stop();
        assert_eq!(hibernation(), 0);
        start::<Fake>(module())?;
        assert_eq!(hibernation(), EBUSY.to_errno());
        stop();
        Ok(())
    }
}
