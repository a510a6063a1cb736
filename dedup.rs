// SPDX-License-Identifier: GPL-2.0

//! Page deduplication: equal ephemeral pages share one stored copy.
//!
//! A put whose content is here already takes a reference to the copy: it is not compressed and
//! takes no frame. What the seed of this (a patch for Xen's tmem, 2010) did with a tree of pages
//! for each first byte, this does with a hash table of *page content descriptors*.
//!
//! How copies are kept is not known here. Whoever keeps them tells by [`Copies`] whether a copy is
//! equal to a page, and frees copies that nobody has a part in any more.
//!
//! # Questions, and their answers
//!
//! *How does eviction know all entries that share a copy?* It starts from a frame of the allocator,
//! where a copy has 16 bytes of [`BackRef`], enough for the entry that came first and for the name
//! of a descriptor ([`Name`]), as the numbers of pools are small. That entry is for the history
//! alone, see `Store::replaces`; it may have left. The descriptor has all the entries, in 12 bytes
//! for one and 16 for each further one. [`Pam::free_entry`](crate::tmem::Pam::free_entry) says
//! which entry leaves, so the list is exact: each entry in the index is in it once, and so is each
//! put that is about to enter the index. All sharers have the very same handle, so
//! [`Tmem::forget`](crate::tmem::Tmem::forget) can compare it as for any page, and the first entry
//! to come has no other part. The list has at most [`MOST_ENTRIES`] entries.
//!
//! *What does it cost in memory?* 24 bytes a descriptor, 16 for each entry beyond the first, in
//! segments of 1 KiB, which are not given back, but used again; beforehand, 16 bytes for each frame
//! that the store may have, which are for the table that descriptors are found by. Where little is
//! equal, that is 34 to 36 bytes a page in a full store. A shard has
//! [`MOST_CONTENTS`](shard::MOST_CONTENTS) at the most, all together enough for 512 GiB of frames
//! with two copies each; further pages are stored without. Descriptors die with their copies at
//! once. To leave dead ones for later finders to remove would save the lock when a page goes, but a
//! copy's number is soon given out anew, and then nothing but a comparison tells that a descriptor
//! is dead.
//!
//! *Which locks?* [`SHARDS`] spinlocks, picked by the hash, all leaves: while one is held nothing
//! else is locked, nothing is allocated, freed, compared or evicted. So they have no order against
//! other locks, and may be taken where zbud's lists may be.
//!
//! *What is compared, and when?* The page against what the copy decompresses to, in every byte,
//! but without decompressing it: each instruction of the stream is checked against the page
//! (`rust/lzo/src/equals.rs`). To compare compressed streams would mean to compress first, which is
//! what is to be saved. A put that finds a descriptor of its hash first joins it, as if they were
//! equal: then the copy cannot go while it is compared without any lock. If it turns out that they
//! differ, the put leaves again. In between, eviction takes it for a put that is about to enter the
//! index, and gives up on it.
//!
//! *Who owns what?* The descriptor owns one reference to the copy; each entry of the list has a
//! part in it. Whoever takes the last entry out of the list gets the reference. An evictor takes
//! the entries one by one: out of the index, which may be refused, because a reader was quicker;
//! and then out of the list.

use core::mem;

use kernel::{
    alloc::Flags,
    new_spinlock,
    prelude::*,
    sync::SpinLock, //
};

#[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

use crate::tmem::{
    BackRef,
    Gauge,
    PageBytes, //
};

mod hash;
mod shard;
#[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
mod tests;

use shard::{
    Contents,
    Entry,
    Join,
    Left,
    Mores,
    Shard,
    CANDIDATES,
    MOST_ENTRIES,
    TAG, //
};

/// Which pages may share a copy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// None.
    Off,
    /// Those of one pool, which is one filesystem.
    Pool,
    /// All.
    All,
}

/// Parts of the descriptors with a lock each: a power of two.
const SHARDS: u32 = 16;

/// Entries beyond the first, for each frame that the store may have.
///
/// They take no frame, but memory for themselves and in the index. With two copies in each frame,
/// this is for everything five times over.
const MORES_PER_FRAME: usize = 8;

/// Copies for each frame that the store may have: zbud's pairs.
const COPIES_PER_FRAME: usize = 2;

/// Who keeps the copies. Copies have numbers below `u32::MAX`.
pub(crate) trait Copies {
    /// Whether the copy is equal to the page in every byte. A copy that cannot be read is not.
    ///
    /// The copy stays meanwhile. No lock is held; may sleep, but not allocate.
    fn equals(&self, copy: u32, page: &PageBytes) -> bool;

    /// Frees a copy that nobody has a part in any more. Must not sleep. No lock is held.
    fn free_copy(&self, copy: u32);
}

/// The name of a descriptor: 31 bits, not zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name(u32);

impl Name {
    /// The name as a number.
    pub(crate) const fn to_raw(self) -> u32 {
        self.0
    }

    /// The inverse of [`Name::to_raw`]; zero is no name.
    pub(crate) const fn from_raw(raw: u32) -> Option<Self> {
        match raw {
            0 => None,
            raw => Some(Self(raw)),
        }
    }

    /// Place `place` of shard `shard`.
    const fn new(shard: u32, place: u32) -> Self {
        Self((place + 1) * SHARDS + shard)
    }

    const fn shard(self) -> u32 {
        self.0 % SHARDS
    }

    /// Wraps, to no place, if this is no name of ours.
    const fn place(self) -> u32 {
        (self.0 / SHARDS).wrapping_sub(1)
    }
}

/// What a page is found by.
#[derive(Clone, Copy)]
pub(crate) struct Hash {
    shard: u32,
    tag: u32,
    /// The only pool whose pages count, if there is one.
    pool: Option<u32>,
    entry: Entry,
}

/// Counters; each is exact, together they are not one snapshot.
#[derive(Default)]
pub(crate) struct Stats {
    /// Contents with a descriptor.
    pub(crate) contents: Gauge,
    /// Index entries that have a part in one.
    pub(crate) entries: Gauge,
    /// Puts that found their content.
    pub(crate) found: Gauge,
    /// Comparisons that found a difference: two pages agreed in what the hash takes.
    pub(crate) differed: Gauge,
    /// Times that eviction spared a shared content.
    pub(crate) spared: Gauge,
    /// Allocations that failed: for a descriptor, for a part in one, for larger tables.
    pub(crate) failed_alloc: Gauge,
    /// Names and entries that were not known: each one is a bug of the caller.
    pub(crate) stale: Gauge,
}

/// Places of one shard, for `each` of `frames` frames.
fn share(frames: usize, each: usize) -> usize {
    // CAST: A power of two that a `usize` can hold.
    let count = SHARDS as usize;
    // A hash spreads them well; one in eight on top is plenty.
    let all = frames.saturating_mul(each);
    (all / count + all / count / 8 + 64).min((1 << 26) - 1024)
}

/// The descriptors.
pub(crate) struct Dedup {
    shards: KVec<Pin<KBox<SpinLock<Shard>>>>,
    key: hash::Key,
    stats: Stats,
    /// Allocations to go until one fails, for tests. 0 means none.
    #[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
    fail: Atomic<u32>,
    /// All hashes are equal, for tests.
    #[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
    collide: Atomic<bool>,
}

impl Dedup {
    /// Descriptors for a store of at most `frames` frames. May sleep. Fails with [`ENOMEM`].
    pub(crate) fn new(frames: usize) -> Result<Self> {
        // CAST: A power of two that a `usize` can hold.
        let count = SHARDS as usize;
        let mut shards = KVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            let shard = Shard::new(
                share(frames, COPIES_PER_FRAME),
                share(frames, MORES_PER_FRAME),
            )?;
            let shard = KBox::pin_init(new_spinlock!(shard, "zcache::dedup"), GFP_KERNEL)?;
            shards.push(shard, GFP_KERNEL)?;
        }
        Ok(Self {
            shards,
            key: hash::Key::random(),
            stats: Stats::default(),
            #[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
            fail: Atomic::new(0),
            #[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
            collide: Atomic::new(false),
        })
    }

    /// Makes room for a store of `frames` frames, where there is less. May sleep. Fails with
    /// [`ENOMEM`]; then some shards may have it.
    pub(crate) fn enlarge(&self, frames: usize) -> Result {
        for shard in &self.shards {
            let larger = self.attempt(|| {
                Shard::room(
                    share(frames, COPIES_PER_FRAME),
                    share(frames, MORES_PER_FRAME),
                )
            });
            let mut larger = larger.ok_or(ENOMEM)?;
            shard.lock().enlarge(&mut larger);
        }
        Ok(())
    }

    /// The counters.
    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Memory in bytes. Locks all shards, one after the other.
    pub(crate) fn metadata_bytes(&self) -> usize {
        let shards = self.shards.iter().map(|shard| shard.lock().bytes());
        shards.sum::<usize>() + self.shards.len() * size_of::<SpinLock<Shard>>()
    }

    // PANIC: The remainder is below `SHARDS`, and there are as many.
    fn shard(&self, number: u32) -> &SpinLock<Shard> {
        // CAST: `u32` to `usize` is lossless.
        &self.shards[(number % SHARDS) as usize]
    }

    /// What `page` is found by, and what its entry `back` will be known by.
    ///
    /// [`None`] if it is not to share anything. Reads the page; does not sleep. What
    /// [`Dedup::find`] looks at first comes from memory while the caller looks up other things.
    pub(crate) fn hash(&self, mode: Mode, page: &PageBytes, back: BackRef) -> Option<Hash> {
        // Equal pages of other pools are not even in the same buckets.
        let scope = match mode {
            Mode::Off => return None,
            Mode::Pool => back.pool.0,
            Mode::All => 0,
        };
        let entry = Entry::of(back)?;
        let hash = self.key.hash(page, scope);
        #[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
        let hash = if self.collide.load(Relaxed) { 1 } else { hash };
        // CAST: The upper bits and the lower ones, which `TAG` cuts to size.
        let (shard, tag) = ((hash >> 60) as u32, hash as u32 & TAG);
        self.shard(shard).lock().read_ahead(tag);
        Some(Hash {
            shard,
            tag,
            pool: (mode == Mode::Pool).then(|| entry.pool()),
            entry,
        })
    }

    /// For [`Dedup::hash`], soon: what that reads of the page comes from memory while the caller
    /// looks up what is known of it. Does not sleep.
    pub(crate) fn read_ahead(&self, mode: Mode, page: &PageBytes) {
        if mode != Mode::Off {
            self.key.read_ahead(page);
        }
    }

    /// Finds a copy that is equal to `page`, and gives the page's entry a part in it.
    ///
    /// The caller owns this part, until [`Dedup::leave`]. May allocate, with `flags`; may sleep.
    pub(crate) fn find(
        &self,
        copies: &impl Copies,
        hash: Hash,
        page: &PageBytes,
        flags: Flags,
    ) -> Option<(Name, u32)> {
        let mut differed = 0;
        // What is full is not found again, and there is memory the second time; so this ends soon.
        for _ in 0..2 * CANDIDATES {
            let mut shard = self.shard(hash.shard).lock();
            let place = shard.find(hash.tag, hash.pool, differed)?;
            let join = shard.join(place, hash.entry);
            let full = join == Join::NeedPlaces && shard.mores_are_full();
            drop(shard);
            let copy = match join {
                Join::Done(copy) => copy,
                Join::Full => continue,
                Join::NeedPlaces if full => return None,
                Join::NeedPlaces => {
                    let segment = self.attempt(|| Mores::allocate(flags))?;
                    let mut shard = self.shard(hash.shard).lock();
                    let excess = shard.mores.add(segment);
                    drop(shard);
                    drop(excess);
                    continue;
                }
            };
            self.stats.entries.add(1);
            let name = Name::new(hash.shard, place);
            if copies.equals(copy, page) {
                self.stats.found.add(1);
                return Some((name, copy));
            }
            if self.leave_entry(name, copy, hash.entry) {
                copies.free_copy(copy);
            }
            self.stats.differed.add(1);
            differed += 1;
            if differed == CANDIDATES {
                break;
            }
        }
        None
    }

    /// Sets a descriptor apart for a page that found no equal one. May allocate, with `flags`.
    ///
    /// [`None`] if there is no memory, or no room in the table: the page can be stored all the
    /// same.
    pub(crate) fn prepare(&self, hash: Hash, flags: Flags) -> Option<Prepared<'_>> {
        let mut place = self.shard(hash.shard).lock().prepare(hash.tag, hash.entry);
        if place.is_none() {
            if self.shard(hash.shard).lock().is_full() {
                return None;
            }
            let segment = self.attempt(|| Contents::allocate(flags))?;
            let mut shard = self.shard(hash.shard).lock();
            let excess = shard.contents.add(segment);
            place = shard.prepare(hash.tag, hash.entry);
            drop(shard);
            drop(excess);
        }
        Some(Prepared {
            dedup: self,
            shard: hash.shard,
            place: place?,
        })
    }

    /// Takes the part that an entry has in a copy. If it was the last one, the reference to the
    /// copy now belongs to the caller, and the descriptor is gone. Does not sleep.
    #[must_use = "if true, the copy is to be freed"]
    pub(crate) fn leave(&self, name: Name, copy: u32, back: BackRef) -> bool {
        match Entry::of(back) {
            Some(entry) => self.leave_entry(name, copy, entry),
            None => {
                self.stats.stale.add(1);
                false
            }
        }
    }

    fn leave_entry(&self, name: Name, copy: u32, entry: Entry) -> bool {
        let left = self
            .shard(name.shard())
            .lock()
            .leave(name.place(), copy, entry);
        match left {
            Left::Unknown => {
                self.stats.stale.add(1);
                return false;
            }
            Left::Nothing => self.stats.contents.sub(1),
            Left::Others => (),
        }
        self.stats.entries.sub(1);
        left == Left::Nothing
    }

    /// Whether eviction should pass a copy by: once, if several entries share it, and once more
    /// after each put that finds it.
    pub(crate) fn spares(&self, name: Name, copy: u32) -> bool {
        let spares = self.shard(name.shard()).lock().spare(name.place(), copy);
        if spares {
            self.stats.spared.add(1);
        }
        spares
    }

    /// Takes all entries of a copy out of the index with `forget`, as
    /// [`Tmem::forget`](crate::tmem::Tmem::forget), and then out of the descriptor.
    ///
    /// True means that the copy was this descriptor's, that the descriptor is gone, and that the
    /// reference to the copy belongs to the caller. False means that somebody still has a part in
    /// it: a page that is just being read or put. The caller keeps the copy's number from being
    /// reused meanwhile. Does not sleep; no lock is held around `forget`.
    #[must_use = "if true, the copy is to be freed"]
    pub(crate) fn evict(
        &self,
        name: Name,
        copy: u32,
        mut forget: impl FnMut(BackRef) -> bool,
    ) -> bool {
        // Others may join and leave meanwhile, but not for ever.
        for _ in 0..2 * MOST_ENTRIES {
            let entry = self.shard(name.shard()).lock().an_entry(name.place(), copy);
            let Some(entry) = entry else {
                return false;
            };
            if !forget(entry.back()) {
                return false;
            }
            if self.leave_entry(name, copy, entry) {
                return true;
            }
        }
        false
    }

    /// Makes the `n`th allocation from now fail; with zero, none.
    #[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
    pub(crate) fn fail_at(&self, n: u32) {
        self.fail.store(n, Relaxed);
    }

    /// Makes all pages have the same hash, or each its own.
    #[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
    pub(crate) fn collide(&self, collide: bool) {
        self.collide.store(collide, Relaxed);
    }

    /// Runs an allocation, unless a test wants it to fail, and counts failures.
    fn attempt<T>(&self, allocate: impl FnOnce() -> Result<T>) -> Option<T> {
        #[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
        {
            let left = self.fail.load(Relaxed);
            self.fail.store(left.saturating_sub(1), Relaxed);
            if left == 1 {
                self.stats.failed_alloc.add(1);
                return None;
            }
        }
        allocate()
            .inspect_err(|_| self.stats.failed_alloc.add(1))
            .ok()
    }
}

/// A descriptor without a copy. Given back on drop.
#[must_use = "if unused, it is given back at once"]
pub(crate) struct Prepared<'a> {
    dedup: &'a Dedup,
    shard: u32,
    place: u32,
}

impl Prepared<'_> {
    /// The name of the descriptor.
    pub(crate) fn name(&self) -> Name {
        Name::new(self.shard, self.place)
    }

    /// Lets others find the copy. It has one entry, that of the page that was hashed; its
    /// reference now belongs to the descriptor. Does not sleep.
    pub(crate) fn publish(self, copy: u32) {
        self.dedup.stats.contents.add(1);
        self.dedup.stats.entries.add(1);
        let shard = self.dedup.shard(self.shard);
        shard.lock().publish(self.place, copy);
        mem::forget(self);
    }
}

impl Drop for Prepared<'_> {
    fn drop(&mut self) {
        let shard = self.dedup.shard(self.shard);
        shard.lock().give_back(self.place);
    }
}
