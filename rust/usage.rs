// SPDX-License-Identifier: GPL-2.0

//! What zcache holds, for `/proc/meminfo` and for the dump of memory at an OOM kill.
//!
//! C header: [`include/linux/zcache.h`](srctree/include/linux/zcache.h)

use core::marker::PhantomData;

use kernel::{
    bindings,
    ffi::c_ulong, //
};

/// Somebody who knows what is held.
pub(crate) trait Usage: 'static {
    /// Physical pages that hold compressed ones, and pages stored.
    ///
    /// Called in any context, in an interrupt too: must neither sleep nor lock.
    fn usage() -> (usize, usize);
}

/// A registered [`Usage`]; dropping it unregisters. There is one at most.
pub(crate) struct Registration<T: Usage>(PhantomData<T>);

impl<T: Usage> Registration<T> {
    /// Registers `T`.
    pub(crate) fn new() -> Self {
        // SAFETY: The function is called until the registration is dropped, and is a part of this
        // module, which waits for that.
        unsafe { bindings::zcache_set_usage(Some(Self::fill)) };
        Self(PhantomData)
    }

    /// # Safety
    ///
    /// `usage` must be valid for writes.
    unsafe extern "C" fn fill(usage: *mut bindings::zcache_usage) {
        let (frames, pages) = T::usage();
        // SAFETY: By the contract of this function.
        unsafe {
            usage.write(bindings::zcache_usage {
                frames: frames as c_ulong,
                pages: pages as c_ulong,
            })
        };
    }
}

impl<T: Usage> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: Waits for callers in flight, and may sleep here.
        unsafe { bindings::zcache_set_usage(None) };
    }
}
