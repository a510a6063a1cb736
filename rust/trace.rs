// SPDX-License-Identifier: GPL-2.0

//! Trace events: one static branch each while nobody looks.
//!
//! C header: [`include/trace/events/zcache.h`](srctree/include/trace/events/zcache.h)

use kernel::bindings;

/// What became of a page that was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Put {
    /// It is held now.
    Stored = bindings::zcache_put_result_ZCACHE_PUT_STORED,
    /// There was no room for it.
    Full = bindings::zcache_put_result_ZCACHE_PUT_FULL,
    /// Nor was it tried: it was not put before, of late, or its neighbours were just refused.
    Unseen = bindings::zcache_put_result_ZCACHE_PUT_UNSEEN,
    /// It did not shrink enough.
    Poor = bindings::zcache_put_result_ZCACHE_PUT_POOR,
    /// It was not tried, as others of its file did not shrink.
    PoorFile = bindings::zcache_put_result_ZCACHE_PUT_POOR_FILE,
    /// There was no memory for its index entry.
    NoMemory = bindings::zcache_put_result_ZCACHE_PUT_NO_MEMORY,
    /// Anything else.
    Other = bindings::zcache_put_result_ZCACHE_PUT_OTHER,
}

/// What a get found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Get {
    /// The page.
    Hit = bindings::zcache_get_result_ZCACHE_GET_HIT,
    /// None.
    Miss = bindings::zcache_get_result_ZCACHE_GET_MISS,
    /// One that cannot be read.
    Corrupt = bindings::zcache_get_result_ZCACHE_GET_CORRUPT,
}

/// What was to be dropped.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Flush {
    /// One page.
    Page = bindings::zcache_flush_what_ZCACHE_FLUSH_PAGE,
    /// A range of pages.
    Range = bindings::zcache_flush_what_ZCACHE_FLUSH_RANGE,
    /// All pages of an object.
    Object = bindings::zcache_flush_what_ZCACHE_FLUSH_OBJECT,
    /// One page, which goes to its swap device.
    WriteBack = bindings::zcache_flush_what_ZCACHE_FLUSH_WRITE_BACK,
}

/// Why a page had to leave.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Evict {
    /// Its frame is for another file page.
    Room = bindings::zcache_evict_reason_ZCACHE_EVICT_ROOM,
    /// Its frame is for a swapped page.
    Swap = bindings::zcache_evict_reason_ZCACHE_EVICT_SWAP,
    /// The shrinker was asked for memory, or a limit was lowered.
    Pressure = bindings::zcache_evict_reason_ZCACHE_EVICT_PRESSURE,
    /// The OOM killer was about to look for a victim.
    Oom = bindings::zcache_evict_reason_ZCACHE_EVICT_OOM,
}

/// A page, as the kernel names it.
#[derive(Clone, Copy)]
pub(crate) struct Page {
    /// Whether it is a swapped page; else it is one of a file.
    pub(crate) swapped: bool,
    /// The number of its pool.
    pub(crate) pool: u64,
    /// The inode number of its file, or the number of its swap area.
    pub(crate) object: u64,
    /// Its number there.
    pub(crate) index: u64,
}

/// A page was put. Any context.
#[inline(always)]
pub(crate) fn put(page: Page, result: Put) {
    let Page {
        swapped,
        pool,
        object,
        index,
    } = page;
    // SAFETY: It takes any numbers.
    unsafe { events::zcache_put(swapped, pool, object, index, result as u32) };
}

/// A page was looked for. Any context.
#[inline(always)]
pub(crate) fn get(page: Page, result: Get) {
    let Page {
        swapped,
        pool,
        object,
        index,
    } = page;
    // SAFETY: It takes any numbers.
    unsafe { events::zcache_get(swapped, pool, object, index, result as u32) };
}

/// The pages from `first` on up to the one with number `last` were to be dropped, and `pages` were
/// here. Any context.
#[inline(always)]
pub(crate) fn flush(first: Page, last: u64, what: Flush, pages: u64) {
    let Page {
        swapped,
        pool,
        object,
        index,
    } = first;
    // SAFETY: It takes any numbers.
    unsafe { events::zcache_flush(swapped, pool, object, index, last, what as u32, pages) };
}

/// A file page was evicted. Any context.
#[inline(always)]
pub(crate) fn evict(pool: u64, hash: u32, index: u32, reason: Evict) {
    // SAFETY: It takes any numbers.
    unsafe { events::zcache_evict(pool, hash, index, reason as u32) };
}

/// The C functions.
mod events {
    use kernel::tracepoint::declare_trace;

    declare_trace! {
        /// # Safety
        ///
        /// None.
        pub(super) unsafe fn zcache_put(
            swapped: bool, pool: u64, object: u64, index: u64, result: u32,
        );

        /// # Safety
        ///
        /// None.
        pub(super) unsafe fn zcache_get(
            swapped: bool, pool: u64, object: u64, index: u64, result: u32,
        );

        /// # Safety
        ///
        /// None.
        pub(super) unsafe fn zcache_flush(
            swapped: bool, pool: u64, object: u64, first: u64, last: u64, what: u32, pages: u64,
        );

        /// # Safety
        ///
        /// None.
        pub(super) unsafe fn zcache_evict(pool: u64, hash: u32, index: u32, reason: u32);
    }
}

#[cfg(all(CONFIG_ZCACHE_KUNIT_TEST, CONFIG_TRACEPOINTS))]
#[kernel::macros::kunit_tests(zcache_trace)]
mod tests {
    use super::*;

    use core::ptr;

    use kernel::{
        error::to_result,
        ffi::c_void,
        prelude::*,
        sync::atomic::{
            Atomic,
            Relaxed, //
        }, //
    };

    /// What the probe was called with last, and how often it was.
    static SEEN: [Atomic<u64>; 6] = [const { Atomic::new(0) }; 6];

    fn seen() -> [u64; 6] {
        [0, 1, 2, 3, 4, 5].map(|place: usize| SEEN[place].load(Relaxed))
    }

    /// Notes its arguments, of the event `zcache_put`.
    extern "C" fn probe(
        _data: *mut c_void,
        swapped: bool,
        pool: u64,
        object: u64,
        index: u64,
        result: u32,
    ) {
        let calls = SEEN[5].load(Relaxed) + 1;
        let all = [swapped.into(), pool, object, index, result.into(), calls];
        for (place, value) in SEEN.iter().zip(all) {
            place.store(value, Relaxed);
        }
    }

    /// Whoever listens gets every argument as it was given; nobody is called when nobody does.
    #[test]
    fn a_probe_sees_what_is_traced() -> Result {
        let page = Page {
            swapped: true,
            pool: 1 << 40,
            object: u64::MAX,
            index: 7,
        };
        put(page, Put::Stored);
        assert_eq!(seen(), [0; 6]);
        let point = &raw mut bindings::__tracepoint_zcache_put;
        // CAST: The kernel casts it back to a function with the arguments of the event.
        let function = probe as *mut c_void;
        // SAFETY: The probe has the event's arguments, and is static.
        to_result(unsafe {
            bindings::tracepoint_probe_register(point, function, ptr::null_mut())
        })?;
        put(page, Put::PoorFile);
        let first = seen();
        put(
            Page {
                swapped: false,
                ..page
            },
            Put::Stored,
        );
        let second = seen();
        // SAFETY: It was registered above.
        to_result(unsafe {
            bindings::tracepoint_probe_unregister(point, function, ptr::null_mut())
        })?;
        let poor_file = Put::PoorFile as u64;
        assert_eq!(first, [1, 1 << 40, u64::MAX, 7, poor_file, 1]);
        assert_eq!(second, [0, 1 << 40, u64::MAX, 7, 0, 2]);
        put(page, Put::Full);
        assert_eq!(seen(), second);
        Ok(())
    }
}
