// SPDX-License-Identifier: GPL-2.0

//! The bytes of a page that somebody else owns.
//!
//! C header: [`include/linux/highmem.h`](srctree/include/linux/highmem.h)

use core::ptr::NonNull;

use kernel::{
    bindings,
    page::PAGE_SIZE, //
};

/// A page of a folio, lent to a callback of the kernel.
///
/// # Invariants
///
/// The page exists as long as this value.
pub(crate) struct FolioPage(NonNull<bindings::page>);

impl FolioPage {
    /// Wraps the page that a callback was given.
    ///
    /// # Safety
    ///
    /// `page` must exist as long as the returned value, and until then nobody else may write to it.
    /// If [`Self::with_bytes_mut`] is to be called, nobody else may read it either.
    pub(crate) unsafe fn new(page: NonNull<bindings::page>) -> Self {
        // INVARIANT: By the contract of this function.
        Self(page)
    }

    /// The memory cgroup that the page is charged to, as a number that is given out anew when the
    /// group is gone; zero if there is none. Does not sleep.
    pub(crate) fn group(&self) -> u16 {
        // SAFETY: By the type's invariant the page exists.
        unsafe { bindings::page_memcg_id(self.0.as_ptr()) }
    }

    /// Calls `f` with the bytes of the page.
    ///
    /// The page is mapped for the current task meanwhile, so that `f` may sleep.
    pub(crate) fn with_bytes<R>(&self, f: impl FnOnce(&[u8; PAGE_SIZE]) -> R) -> R {
        // SAFETY: By the type's invariant the page exists.
        let address = unsafe { bindings::kmap_local_page(self.0.as_ptr()) };
        // SAFETY: The mapping covers one page and lasts until the unmapping below, and by the
        // contract of `new` nobody writes to it.
        let result = f(unsafe { &*address.cast::<[u8; PAGE_SIZE]>() });
        // SAFETY: `address` was mapped above, and every mapping made since, in `f`, has ended: a
        // mapping never outlives the function of this file that makes it.
        unsafe { bindings::kunmap_local(address) };
        result
    }

    /// Calls `f` with the bytes of the page, to be changed.
    ///
    /// The page is mapped for the current task meanwhile, so that `f` may sleep.
    pub(crate) fn with_bytes_mut<R>(&mut self, f: impl FnOnce(&mut [u8; PAGE_SIZE]) -> R) -> R {
        // SAFETY: By the type's invariant the page exists.
        let address = unsafe { bindings::kmap_local_page(self.0.as_ptr()) };
        // SAFETY: The mapping covers one page and lasts until the unmapping below, and by the
        // contract of `new` and `&mut self` nobody else touches it.
        let result = f(unsafe { &mut *address.cast::<[u8; PAGE_SIZE]>() });
        // SAFETY: As in `with_bytes`.
        unsafe { bindings::kunmap_local(address) };
        result
    }
}
