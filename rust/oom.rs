// SPDX-License-Identifier: GPL-2.0

//! A last call before the OOM killer looks for a victim.
//!
//! C header: [`include/linux/oom.h`](srctree/include/linux/oom.h)

use core::{
    ffi::c_void,
    marker::PhantomData, //
};

use kernel::{
    bindings,
    error::to_result,
    ffi::{
        c_int,
        c_ulong, //
    },
    prelude::*,
    types::Opaque, //
};

/// Somebody who can give memory back when all else failed.
pub(crate) trait Relief: 'static {
    /// Frees what it can and returns how many pages of memory that was.
    ///
    /// Called by a task that found no memory, under the OOM lock: must not allocate.
    fn relieve() -> usize;
}

/// A registered [`Relief`]; dropping it unregisters.
#[pin_data(PinnedDrop)]
pub(crate) struct Registration<T: Relief> {
    #[pin]
    block: Opaque<bindings::notifier_block>,
    relief: PhantomData<T>,
}

// SAFETY: The block belongs to the notifier chain, which has its own lock; unregistering may be
// done by any thread.
unsafe impl<T: Relief> Send for Registration<T> {}
// SAFETY: Nothing can be done with a shared reference.
unsafe impl<T: Relief> Sync for Registration<T> {}

impl<T: Relief> Registration<T> {
    /// Registers `T`. May sleep.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            block <- Opaque::try_ffi_init(|block: *mut bindings::notifier_block| {
                // SAFETY: `block` is valid for writes, and a notifier block may be zero but for
                // its callback.
                unsafe {
                    block.write_bytes(0, 1);
                    (&raw mut (*block).notifier_call).write(Some(Self::call));
                }
                // SAFETY: The block is pinned, and unregistered before it goes away.
                to_result(unsafe { bindings::register_oom_notifier(block) })
            }),
            relief: PhantomData,
        })
    }

    /// # Safety
    ///
    /// Called by the OOM notifier chain only; `freed` is its count of freed pages.
    unsafe extern "C" fn call(
        _block: *mut bindings::notifier_block,
        _action: c_ulong,
        freed: *mut c_void,
    ) -> c_int {
        // SAFETY: By the contract of this function.
        unsafe { *freed.cast::<c_ulong>() += T::relieve() };
        // CAST: A small constant.
        bindings::NOTIFY_OK as c_int
    }
}

#[pinned_drop]
impl<T: Relief> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: It was registered in `new`. The only error is that it was not.
        let _ = unsafe { bindings::unregister_oom_notifier(self.block.get()) };
    }
}
