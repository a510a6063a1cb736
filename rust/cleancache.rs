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

use crate::folio::FolioPage;

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

/// Makes `T` the system's store, for good. May sleep.
///
/// Fails with [`EEXIST`] if there is one already.
pub(crate) fn register<T: Store>(module: &'static ThisModule) -> Result {
    let operations = KBox::new(Table::<T>::ops(module), GFP_KERNEL)?;
    let operations = KBox::into_raw(operations);
    // SAFETY: The table is valid, and is leaked if the registration takes it.
    let result = to_result(unsafe { bindings::cleancache_register(operations) });
    if result.is_err() {
        // SAFETY: It came from `into_raw` above, and a registration that failed does not keep it.
        drop(unsafe { KBox::from_raw(operations) });
    }
    result.map_err(|error| if error == EBUSY { EEXIST } else { error })
}

/// Builds the C table of operations for `T`.
struct Table<T: Store>(PhantomData<T>);

impl<T: Store> Table<T> {
    fn ops(module: &'static ThisModule) -> bindings::cleancache_ops {
        bindings::cleancache_ops {
            owner: module.as_ptr(),
            create_pool: Some(Self::create_pool),
            destroy_pool: Some(Self::destroy_pool),
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
