// SPDX-License-Identifier: GPL-2.0

//! What is counted, timed and traced of each page that comes and goes.
//!
//! The hooks in `zcache.rs` run their work through here. While nobody looks, that costs a static
//! branch; times cost a look at the clock, where `timing.rs` has any.

use kernel::prelude::*;

use crate::{
    store::Count,
    timing::{
        Timer,
        Times, //
    },
    tmem::Kind,
    trace::{
        self,
        Flush,
        Get,
        Page,
        Put, //
    }, //
};

/// What is known of the pages of one kind.
pub(crate) struct Half {
    /// Pages refused because there was no memory for an index entry.
    pub(crate) no_memory: Count,
    /// How long puts took that stored their page.
    pub(crate) put: Times,
    /// How long puts took that did not.
    pub(crate) refused: Times,
    /// How long gets took that found their page.
    pub(crate) get: Times,
}

impl Half {
    const fn new() -> Self {
        Self {
            no_memory: Count::new(),
            put: Times::new(),
            refused: Times::new(),
            get: Times::new(),
        }
    }
}

/// What is known of the pages of `kind`.
pub(crate) fn half(kind: Kind) -> &'static Half {
    // Not in the system, which is moved into its place when it is made: too large for a stack.
    static EPHEMERAL: Half = Half::new();
    static PERSISTENT: Half = Half::new();
    match kind {
        Kind::Ephemeral => &EPHEMERAL,
        Kind::Persistent => &PERSISTENT,
    }
}

fn kind_of(page: Page) -> Kind {
    match page.swapped {
        true => Kind::Persistent,
        false => Kind::Ephemeral,
    }
}

/// What to call the outcome of a put.
fn put_result(result: Result) -> Put {
    match result {
        Ok(()) => Put::Stored,
        Err(error) => match error {
            ENOSPC => Put::Full,
            EAGAIN => Put::Unseen,
            E2BIG => Put::Poor,
            EPERM => Put::PoorFile,
            ENOMEM => Put::NoMemory,
            _ => Put::Other,
        },
    }
}

/// What to call the outcome of a get.
fn get_result(result: Result) -> Get {
    match result {
        Ok(()) => Get::Hit,
        Err(EIO) => Get::Corrupt,
        Err(_) => Get::Miss,
    }
}

/// Puts a page; returns whether it is stored.
pub(crate) fn put(page: Page, put: impl FnOnce() -> Result) -> bool {
    let timer = Timer::start();
    let result = put();
    let half = half(kind_of(page));
    let times = match result {
        Ok(()) => &half.put,
        Err(_) => &half.refused,
    };
    times.add(timer.elapsed());
    if result == Err(ENOMEM) {
        half.no_memory.add(1);
    }
    trace::put(page, put_result(result));
    result.is_ok()
}

/// Looks for a page; returns whether it was found.
pub(crate) fn get(page: Page, get: impl FnOnce() -> Result) -> bool {
    let timer = Timer::start();
    let result = get();
    if result.is_ok() {
        half(kind_of(page)).get.add(timer.elapsed());
    }
    trace::get(page, get_result(result));
    result.is_ok()
}

/// Drops the pages from `first` on up to the one with number `last`; returns how many were here.
pub(crate) fn flush(first: Page, last: u64, what: Flush, flush: impl FnOnce() -> u64) -> u64 {
    let pages = flush();
    trace::flush(first, last, what, pages);
    pages
}

#[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
#[kernel::macros::kunit_tests(zcache_observe)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_its_name() {
        for (result, name) in [
            (Ok(()), Put::Stored),
            (Err(ENOSPC), Put::Full),
            (Err(EAGAIN), Put::Unseen),
            (Err(E2BIG), Put::Poor),
            (Err(EPERM), Put::PoorFile),
            (Err(ENOMEM), Put::NoMemory),
            (Err(ENOENT), Put::Other),
            (Err(EFBIG), Put::Other),
        ] {
            assert!(put_result(result) == name);
        }
        for (result, name) in [
            (Ok(()), Get::Hit),
            (Err(ENOENT), Get::Miss),
            (Err(EIO), Get::Corrupt),
        ] {
            assert!(get_result(result) == name);
        }
    }

    #[test]
    fn outcomes_come_through_and_are_counted() {
        let page = Page {
            swapped: true,
            pool: 1,
            object: 2,
            index: 3,
        };
        let half = half(Kind::Persistent);
        let before = half.no_memory.get();
        for (result, more) in [(Ok(()), 0), (Err(ENOSPC), 0), (Err(ENOMEM), 1)] {
            assert_eq!(put(page, || result), result.is_ok());
            assert_eq!(half.no_memory.get(), before + more);
        }
        assert!(get(page, || Ok(())));
        assert!(!get(page, || Err(ENOENT)));
        assert_eq!(flush(page, 9, Flush::Range, || 7), 7);
    }
}
