// SPDX-License-Identifier: GPL-2.0

//! A page of memory whose byte ranges belong to different users.
//!
//! [`Page`] can copy into and out of a page. An allocator that packs several objects into one page
//! needs two things more: to look at bytes in place, and to do so after it has dropped the lock
//! that its own table of pages is under. [`Frame`] owns the page and stays in that table;
//! [`FrameBytes`] is the way to its memory that may leave the lock.

use kernel::{
    alloc::{
        AllocError,
        Flags, //
    },
    bindings,
    page::{
        Page,
        PAGE_SIZE, //
    },
};

use core::{
    mem::ManuallyDrop,
    ops::Range,
    ptr,
    slice, //
};

/// An order-0 page, freed on drop. Its content is undefined until written.
pub(crate) struct Frame {
    page: Page,
}

impl Frame {
    /// Allocates a page. Sleeps if, and only if, `flags` allow it.
    pub(crate) fn new(flags: Flags) -> Result<Self, AllocError> {
        Ok(Self {
            page: Page::alloc_page(flags)?,
        })
    }

    /// Names the frame's memory, without keeping it.
    pub(crate) fn bytes(&self) -> FrameBytes {
        FrameBytes {
            page: self.page.as_ptr(),
        }
    }
}

/// A [`Frame`] whose content can go at any time. As long as it exists, the kernel counts it as
/// memory that it can have back (`NR_KERNEL_MISC_RECLAIMABLE`).
pub(crate) struct ReclaimableFrame {
    frame: Frame,
}

impl ReclaimableFrame {
    /// Allocates a page. Sleeps if, and only if, `flags` allow it.
    pub(crate) fn new(flags: Flags) -> Result<Self, AllocError> {
        let frame = Frame::new(flags)?;
        count_reclaimable(&frame, 1);
        Ok(Self { frame })
    }

    /// Names the frame's memory, without keeping it.
    pub(crate) fn bytes(&self) -> FrameBytes {
        self.frame.bytes()
    }

    /// The same page, for content that has to stay.
    pub(crate) fn into_frame(self) -> Frame {
        let this = ManuallyDrop::new(self);
        count_reclaimable(&this.frame, -1);
        // SAFETY: `this` is not used any more, nor dropped, so that the page has one owner.
        unsafe { ptr::read(&this.frame) }
    }
}

impl Drop for ReclaimableFrame {
    fn drop(&mut self) {
        count_reclaimable(&self.frame, -1);
    }
}

/// Adds `pages` to what the kernel counts as reclaimable, on the node of `frame`. Any context.
fn count_reclaimable(frame: &Frame, pages: isize) {
    // SAFETY: The page is valid as long as the frame exists, and only its node is looked at.
    unsafe { bindings::mod_page_reclaimable(frame.page.as_ptr(), pages) };
}

/// Pages that the kernel counts as reclaimable, besides slabs.
#[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
pub(crate) fn reclaimable_pages() -> usize {
    // SAFETY: Reads a counter.
    unsafe { bindings::global_node_page_state(bindings::node_stat_item_NR_KERNEL_MISC_RECLAIMABLE) }
}

/// The memory of a [`Frame`]. Like a raw pointer, it does not keep the frame from being freed.
pub(crate) struct FrameBytes {
    page: *mut bindings::page,
}

impl FrameBytes {
    /// Runs `f` with the address at which the page is mapped meanwhile for this task.
    ///
    /// # Safety
    ///
    /// The frame must not be freed before this returns.
    unsafe fn with_address<R>(&self, f: impl FnOnce(*mut u8) -> R) -> R {
        // SAFETY: The caller keeps the frame alive, hence `page` is a valid page.
        let address = unsafe { bindings::kmap_local_page(self.page) };

        let result = f(address.cast());

        // SAFETY: `address` comes from `kmap_local_page` above. Whatever `f` maps it also unmaps,
        // because here mappings exist only inside closures; so the order is last in, first out.
        unsafe { bindings::kunmap_local(address) };

        result
    }

    /// Copies `data` into the frame, from byte `offset` on.
    ///
    /// # Safety
    ///
    /// - The frame must not be freed before this returns.
    /// - `offset + data.len()` must be at most [`PAGE_SIZE`].
    /// - Until this returns, nobody else may read or write that range of the frame.
    pub(crate) unsafe fn write(&self, offset: usize, data: &[u8]) {
        debug_assert!(offset <= PAGE_SIZE && data.len() <= PAGE_SIZE - offset);

        let copy = |address: *mut u8| {
            // SAFETY:
            // - `data` is readable as a whole, and `address` is the start of a mapped page in which
            //   the range lies, by the caller's promise.
            // - Nobody else touches the range, so there is no data race, and `data`, which a shared
            //   reference protects from writes, cannot lie in it.
            unsafe { ptr::copy_nonoverlapping(data.as_ptr(), address.add(offset), data.len()) };
        };
        // SAFETY: The caller keeps the frame alive.
        unsafe { self.with_address(copy) }
    }

    /// Runs `f` on the bytes of `range`. It may sleep if the caller may.
    ///
    /// # Safety
    ///
    /// - The frame must not be freed before this returns.
    /// - `range` must not end before it starts, nor beyond [`PAGE_SIZE`].
    /// - All bytes of `range` must have been written since the frame was allocated.
    /// - Until this returns, nobody may write to that range of the frame.
    pub(crate) unsafe fn read<R>(&self, range: Range<usize>, f: impl FnOnce(&[u8]) -> R) -> R {
        debug_assert!(range.start <= range.end && range.end <= PAGE_SIZE);

        let look = |address: *mut u8| {
            // SAFETY: The range lies in the mapped page, is initialised, and does not change while
            // the slice exists, all by the caller's promise. The slice covers no other byte, so
            // writes to the rest of the frame are no concern of it. It cannot escape from `f`,
            // which must take it with any lifetime.
            f(unsafe { slice::from_raw_parts(address.add(range.start), range.len()) })
        };
        // SAFETY: The caller keeps the frame alive.
        unsafe { self.with_address(look) }
    }
}
