// SPDX-License-Identifier: GPL-2.0

//! Cleancache: a store of the clean file pages that reclaim removes from the page cache.
//!
//! What the hooks promise and demand stands in the C header.
//!
//! C header: [`include/linux/cleancache.h`](srctree/include/linux/cleancache.h)

use core::{
    marker::PhantomData,
    num::NonZeroU64,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    error::to_result,
    ffi::c_ulong,
    prelude::*,
    ThisModule, //
};

use crate::{
    folio::FolioPage,
    given::Given, //
};

/// Identity of an inode within a pool.
pub(crate) type Key = [u64; 3];

/// A filesystem that is mounted.
pub(crate) struct Filesystem<'a> {
    /// Its type, such as `ext4`.
    pub(crate) kind: &'a CStr,
    /// The name of its device, or what it has instead.
    pub(crate) device: &'a CStr,
}

/// A store of clean pages. One serves the whole system.
///
/// All operations run in task context. What may sleep must not enter reclaim.
pub(crate) trait Store: 'static {
    /// A new pool for one filesystem, with an id that is never used again; [`None`] if there is no
    /// memory. May sleep.
    fn create_pool(filesystem: Filesystem<'_>) -> Option<NonZeroU64>;

    /// Drops a pool and its pages. May sleep.
    fn destroy_pool(pool: u64);

    /// Drops the pages of all pools, which stay. No put or get is under way. May sleep.
    fn drop_all();

    /// Stores a copy of a page and returns whether it did. An older copy is gone afterwards in
    /// any case. May sleep.
    fn put_page(pool: u64, key: Key, index: u64, page: FolioPage) -> bool;

    /// Fills a page, forgets the copy and returns true; or returns false, and the page may hold
    /// anything. May sleep.
    fn get_page(pool: u64, key: Key, index: u64, page: FolioPage) -> bool;

    /// Is any page from `first` to `last`, inclusive, here? Does not sleep.
    fn has_page(pool: u64, key: Key, first: u64, last: u64) -> bool;

    /// `count` pages were looked for in an inode that has none. Does not sleep.
    fn missed(count: usize);

    /// Drops the pages from `first` to `last`, inclusive. Does not sleep.
    fn flush_range(pool: u64, key: Key, first: u64, last: u64);

    /// Drops all pages of an inode that leaves memory; `linked` if the file still has a name.
    /// Does not sleep.
    fn flush_inode(pool: u64, key: Key, linked: bool);
}

/// The table that was given to the kernel.
static OPS: Given<bindings::cleancache_ops> = Given::new();

/// Makes `T` the system's store, or lets it take pages again after [`stop`]. May sleep.
///
/// Fails with [`EEXIST`] if there is another store.
pub(crate) fn start<T: Store>(module: &'static ThisModule) -> Result {
    let table = OPS.table(|| Table::<T>::ops(module))?;
    // SAFETY: The table is valid, and stays so.
    to_result(unsafe { bindings::cleancache_start(table) })
}

/// Has all pages dropped, and lets no more in. None is there when it returns. May sleep.
pub(crate) fn stop() {
    // SAFETY: Waits for users of the table that was given to `start`, if there was one, and then
    // calls it.
    unsafe { bindings::cleancache_stop() };
}

/// Builds the C table of operations for `T`.
struct Table<T: Store>(PhantomData<T>);

impl<T: Store> Table<T> {
    fn ops(module: &'static ThisModule) -> bindings::cleancache_ops {
        bindings::cleancache_ops {
            owner: module.as_ptr(),
            create_pool: Some(Self::create_pool),
            destroy_pool: Some(Self::destroy_pool),
            drop_all: Some(Self::drop_all),
            put_page: Some(Self::put_page),
            get_page: Some(Self::get_page),
            has_page: Some(Self::has_page),
            missed: Some(Self::missed),
            flush_range: Some(Self::flush_range),
            flush_inode: Some(Self::flush_inode),
        }
    }

    /// # Safety
    ///
    /// `sb` must be a superblock that is active.
    unsafe extern "C" fn create_pool(sb: *const bindings::super_block) -> u64 {
        // SAFETY: By the contract of this function; the type of a filesystem and its name live as
        // long as one is mounted, the name of its device is not changed any more, and all are
        // C strings.
        let filesystem = unsafe {
            Filesystem {
                kind: CStr::from_char_ptr((*(*sb).s_type).name),
                device: CStr::from_char_ptr((&raw const (*sb).s_id).cast()),
            }
        };
        T::create_pool(filesystem).map_or(0, NonZeroU64::get)
    }

    extern "C" fn destroy_pool(pool: u64) {
        T::destroy_pool(pool);
    }

    extern "C" fn drop_all() {
        T::drop_all();
    }

    /// # Safety
    ///
    /// `key` must be valid, and `page` a page of a locked, clean folio that nobody writes to.
    unsafe extern "C" fn put_page(
        pool: u64,
        key: *const bindings::cleancache_key,
        index: c_ulong,
        page: *mut bindings::page,
    ) -> bool {
        // SAFETY: By the contract of this function.
        let key = unsafe { (*key).oid };
        let Some(page) = NonNull::new(page) else {
            return false;
        };
        // SAFETY: The folio is locked, unmapped, clean and has no references but those of the
        // page cache and of reclaim: whoever finds it now waits for the lock before writing.
        let page = unsafe { FolioPage::new(page) };
        // CAST: Both have 64 bits; the driver depends on 64BIT.
        T::put_page(pool, key, index as u64, page)
    }

    /// # Safety
    ///
    /// `key` must be valid, and `page` a page of a locked folio that is not up to date.
    unsafe extern "C" fn get_page(
        pool: u64,
        key: *const bindings::cleancache_key,
        index: c_ulong,
        page: *mut bindings::page,
    ) -> bool {
        // SAFETY: By the contract of this function.
        let key = unsafe { (*key).oid };
        let Some(page) = NonNull::new(page) else {
            return false;
        };
        // SAFETY: The folio is locked, and nobody reads a folio that is not up to date.
        let page = unsafe { FolioPage::new(page) };
        // CAST: Both have 64 bits.
        T::get_page(pool, key, index as u64, page)
    }

    /// # Safety
    ///
    /// `key` must be valid.
    unsafe extern "C" fn has_page(
        pool: u64,
        key: *const bindings::cleancache_key,
        first: c_ulong,
        last: c_ulong,
    ) -> bool {
        // SAFETY: By the contract of this function.
        let key = unsafe { (*key).oid };
        // CAST: Both have 64 bits.
        T::has_page(pool, key, first as u64, last as u64)
    }

    extern "C" fn missed(count: c_ulong) {
        T::missed(count);
    }

    /// # Safety
    ///
    /// `key` must be valid.
    unsafe extern "C" fn flush_range(
        pool: u64,
        key: *const bindings::cleancache_key,
        first: c_ulong,
        last: c_ulong,
    ) {
        // SAFETY: By the contract of this function.
        let key = unsafe { (*key).oid };
        // CAST: Both have 64 bits.
        T::flush_range(pool, key, first as u64, last as u64);
    }

    /// # Safety
    ///
    /// `key` must be valid.
    unsafe extern "C" fn flush_inode(
        pool: u64,
        key: *const bindings::cleancache_key,
        linked: bool,
    ) {
        // SAFETY: By the contract of this function.
        let key = unsafe { (*key).oid };
        T::flush_inode(pool, key, linked);
    }
}

#[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
#[kernel::macros::kunit_tests(zcache_cleancache)]
mod tests {
    use kernel::sync::atomic::{
        Atomic,
        Relaxed, //
    };

    use super::*;

    /// How often [`Fake`] was told to drop all.
    static DROPS: Atomic<u32> = Atomic::new(0);

    /// A store that keeps nothing.
    struct Fake;

    impl Store for Fake {
        fn create_pool(_filesystem: Filesystem<'_>) -> Option<NonZeroU64> {
            None
        }

        fn destroy_pool(_pool: u64) {}

        fn drop_all() {
            DROPS.fetch_add(1, Relaxed);
        }

        fn put_page(_pool: u64, _key: Key, _index: u64, _page: FolioPage) -> bool {
            false
        }

        fn get_page(_pool: u64, _key: Key, _index: u64, _page: FolioPage) -> bool {
            false
        }

        fn has_page(_pool: u64, _key: Key, _first: u64, _last: u64) -> bool {
            false
        }

        fn missed(_count: usize) {}

        fn flush_range(_pool: u64, _key: Key, _first: u64, _last: u64) {}

        fn flush_inode(_pool: u64, _key: Key, _linked: bool) {}
    }

    #[test]
    fn each_stop_drops_all_once() -> Result {
        let module = &<crate::LocalModule as kernel::ModuleMetadata>::THIS_MODULE;
        stop();
        assert_eq!(DROPS.load(Relaxed), 0);
        for round in 1..=3 {
            start::<Fake>(module)?;
            start::<Fake>(module)?;
            assert_eq!(DROPS.load(Relaxed), round - 1);
            stop();
            stop();
            assert_eq!(DROPS.load(Relaxed), round);
        }
        Ok(())
    }
}
