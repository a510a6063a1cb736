// SPDX-License-Identifier: GPL-2.0

//! Shrinkers: caches that give memory back when the system is short of it.
//!
//! C header: [`include/linux/shrinker.h`](srctree/include/linux/shrinker.h)

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    ffi::c_ulong,
    prelude::*, //
};

/// A cache that can shrink.
pub(crate) trait Shrinker: 'static {
    /// How many objects could be freed now.
    ///
    /// Called often and by tasks short of memory: must not sleep, allocate, or change anything.
    fn count() -> usize;

    /// Frees up to `wanted` objects and returns how many it freed, or [`None`] if it cannot make
    /// progress now.
    ///
    /// Called by tasks short of memory, with any locks of theirs held: must not allocate or wait
    /// for reclaim.
    fn scan(wanted: usize) -> Option<usize>;
}

/// A registered shrinker; dropping it unregisters.
///
/// # Invariants
///
/// The pointer came from `shrinker_alloc()`, was passed to `shrinker_register()`, and has not
/// been freed.
pub(crate) struct Registration<T: Shrinker>(NonNull<bindings::shrinker>, PhantomData<T>);

// SAFETY: A registration owns no data of the thread that made it, and unregistering may be done
// by any.
unsafe impl<T: Shrinker> Send for Registration<T> {}
// SAFETY: Nothing can be done with a shared reference.
unsafe impl<T: Shrinker> Sync for Registration<T> {}

impl<T: Shrinker> Registration<T> {
    /// Registers `T` under `name`, which shows in debugfs.
    ///
    /// May sleep. Fails with [`ENOMEM`].
    pub(crate) fn new(name: &'static CStr) -> Result<Self> {
        // SAFETY: `name` is a valid C string without format directives, which the shrinker copies;
        // it is passed as the argument of a constant format.
        let shrinker =
            unsafe { bindings::shrinker_alloc(0, c"%s".as_char_ptr(), name.as_char_ptr()) };
        let shrinker = NonNull::new(shrinker).ok_or(ENOMEM)?;

        // SAFETY: The shrinker is not registered yet, so that nobody else uses the fields.
        unsafe {
            (&raw mut (*shrinker.as_ptr()).count_objects).write(Some(Self::count));
            (&raw mut (*shrinker.as_ptr()).scan_objects).write(Some(Self::scan));
        }
        // SAFETY: It came from `shrinker_alloc()` and has both operations.
        unsafe { bindings::shrinker_register(shrinker.as_ptr()) };
        // INVARIANT: Allocated and registered above.
        Ok(Self(shrinker, PhantomData))
    }

    /// # Safety
    ///
    /// Called by the kernel's shrinker code only.
    unsafe extern "C" fn count(
        _shrinker: *mut bindings::shrinker,
        _control: *mut bindings::shrink_control,
    ) -> c_ulong {
        match T::count() {
            // "Nothing here", which lets the caller skip the scan.
            0 => bindings::SHRINK_EMPTY as c_ulong,
            count => count,
        }
    }

    /// # Safety
    ///
    /// Called by the kernel's shrinker code only, with a valid `control`.
    unsafe extern "C" fn scan(
        _shrinker: *mut bindings::shrinker,
        control: *mut bindings::shrink_control,
    ) -> c_ulong {
        // SAFETY: By the contract of this function.
        let wanted = unsafe { (*control).nr_to_scan };
        T::scan(wanted).unwrap_or(bindings::SHRINK_STOP as c_ulong)
    }
}

impl<T: Shrinker> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: By the type's invariant; this waits for callbacks in flight.
        unsafe { bindings::shrinker_free(self.0.as_ptr()) };
    }
}
