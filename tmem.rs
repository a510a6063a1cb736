// SPDX-License-Identifier: GPL-2.0

//! Transcendent memory: the index between page identities and stored pages.
//!
//! A caller names a page by *(pool, object, index)* and may [`put`], [`get`] or flush it. What a
//! stored page looks like is not known here: a [`Pam`] (page-addressable memory) keeps the data
//! and gives out an opaque [`Handle`] for it.
//!
//! [`put`]: Tmem::put
//! [`get`]: Tmem::get

use kernel::{
    page::PAGE_SIZE,
    prelude::*, //
};

/// The content of one page.
pub(crate) type PageBytes = [u8; PAGE_SIZE];

/// A PAM's name for one stored page.
///
/// Every 64-bit value is allowed. While the PAM holds at least one reference to a page, no other
/// page of that PAM has the same handle.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handle(pub(crate) u64);

/// Names a pool. Never reused while the system is up, so a stale id finds nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PoolId(pub(crate) u64);

/// Names a client: a filesystem type, a guest, the swap half. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClientId(pub(crate) u32);

/// Names a shared pool among clients. Knowing it is the permission to join.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Uuid(pub(crate) [u8; 16]);

/// Names an object (one file, one run of a swap area) inside a pool.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Oid(pub(crate) [u64; 3]);

/// What may become of the pages of a pool.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Pages may vanish at any time: clean page-cache pages.
    Ephemeral,
    /// Pages stay until they are fetched or flushed: swapped-out pages.
    Persistent,
}

/// The way back from a stored page to its index entry, 16 bytes.
///
/// A PAM keeps one beside each page, and passes it to [`Tmem::forget`] to evict the page. It does
/// not hold the whole object name: its hash is enough, because the handle is compared too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct BackRef {
    /// The pool that the page was put into.
    pub(crate) pool: PoolId,
    /// Hash of the object.
    pub(crate) hash: u32,
    /// The page's number in its object.
    pub(crate) index: u32,
}

/// Page-addressable memory: keeps the data of pages, counts references to each.
///
/// Of each page the index owns one reference, and every reader one more or the index's own.
pub(crate) trait Pam: Send + Sync {
    /// Stores a copy of `page` and returns its handle, with one reference, owned by the caller.
    ///
    /// May sleep; no lock of this file is held. `back` comes back in [`Tmem::forget`]; the page
    /// is not in the index yet, and eviction must cope with that.
    fn create(&self, kind: Kind, page: &PageBytes, back: BackRef) -> Result<Handle>;

    /// Takes one more reference to a page.
    ///
    /// Called under an index lock: must not sleep, and must not call back into [`Tmem`]. Fails
    /// when the count would overflow. Used for shared pools only.
    fn get_ref(&self, kind: Kind, handle: Handle) -> Result;

    /// Fills `page` from a stored page of which the caller owns a reference, and keeps.
    ///
    /// May sleep; no lock of this file is held. An error means that the stored data is corrupt;
    /// what `page` then contains is undefined.
    fn get_data(&self, kind: Kind, handle: Handle, page: &mut PageBytes) -> Result;

    /// Gives back one reference; the last one frees the data.
    ///
    /// Must not sleep: flushes come from atomic context. No lock of this file is held.
    fn free(&self, kind: Kind, handle: Handle);
}

/// The core: clients, their pools, and the index of each pool.
pub(crate) struct Tmem<P: Pam> {
    pam: P,
}

impl<P: Pam> Tmem<P> {
    /// Drops the index entry of a page that its PAM wants to evict.
    ///
    /// Returns true if an entry for exactly this `handle` was there: its reference then belongs
    /// to the caller. False means that somebody else owns it.
    pub(crate) fn forget(&self, _back: BackRef, _handle: Handle) -> bool {
        false
    }

    /// The PAM under this core.
    pub(crate) fn pam(&self) -> &P {
        &self.pam
    }

    /// Stores a page.
    pub(crate) fn put(&self) {}

    /// Fetches a page.
    pub(crate) fn get(&self) {}
}
