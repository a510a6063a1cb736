// SPDX-License-Identifier: GPL-2.0

//! A part of the descriptors: a hash table of their numbers, under one lock.
//!
//! Descriptors are in segments, which move nothing when there are more, and need no large
//! allocation. Most puts find nothing, and most pages leave alone: what either costs is to wait for
//! memory. So the table has buckets of one cache line, and that line is all that is looked at:
//!
//! ```text
//!   tag --upper part--> a bucket
//!
//!   31     24 23            0
//!   +--------+---------------+-----------------+-- -- --+-----------------+
//!   | part   | place of the  | next older one  |        | oldest, or NONE |  16 slots
//!   | of tag | newest        |                 |        |                 |
//!   +--------+---------------+-----------------+-- -- --+-----------------+
//! ```
//!
//! A slot with the wrong 8 bits is not looked into; of those that find nothing, one in thirty sees
//! a descriptor in vain. In a bucket that is full, the oldest gives way: it is *hidden*, and serves
//! those that have a part in it, but is not found again. With [`LOAD`] of the 16 slots in use in
//! the mean, one in fifty is hidden, with eight one in two hundred. So there are no chains to
//! follow, nothing to rehash, and nobody who stores pages of one hash makes others wait. A page
//! that turns out not to shrink had a slot as well, for a moment, and may have hidden one for it.
//!
//! Nothing here sleeps, allocates or frees memory, or calls anybody.

use core::{
    hint,
    mem, //
};

use kernel::{
    alloc::Flags,
    prelude::*, //
};

use crate::{
    segments,
    tmem::{
        BackRef,
        PoolId, //
    }, //
};

/// No place: the end of a list.
const NIL: u32 = u32::MAX;

/// What a descriptor without a copy has instead of its number.
const NO_COPY: u32 = u32::MAX;

/// The part of a hash that a descriptor keeps, and that picks its bucket.
pub(super) const TAG: u32 = (1 << 30) - 1;

/// Beside the tag: eviction has spared this content, and will not do so again.
const SPARED: u32 = 1 << 30;

/// Beside the tag: in no bucket, because it has as many entries as it may have, or there was no
/// slot left for it. Those from before [`Shard::enlarge`] are in none either.
const HIDDEN: u32 = 1 << 31;

/// Descriptors of one tag that a put compares its page with, the newest first.
pub(super) const CANDIDATES: usize = 4;

/// Entries that one content may have.
///
/// They are a list, and whoever leaves is looked for. The 33rd makes a new copy, which costs 3 % of
/// what sharing gains where everything is there a hundred times.
pub(super) const MOST_ENTRIES: usize = 32;

/// An index entry, as [`BackRef`], in 12 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pool: u32,
    hash: u32,
    index: u32,
}

impl Entry {
    const NONE: Self = Self {
        pool: 0,
        hash: 0,
        index: 0,
    };

    /// The entry that `back` leads to; [`None`] after 2^32 pools.
    pub(super) fn of(back: BackRef) -> Option<Self> {
        Some(Self {
            pool: u32::try_from(back.pool.0).ok()?,
            hash: back.hash,
            index: back.index,
        })
    }

    /// The number of its pool.
    pub(super) fn pool(self) -> u32 {
        self.pool
    }

    /// What leads to it.
    pub(super) fn back(self) -> BackRef {
        BackRef {
            pool: PoolId(self.pool.into()),
            hash: self.hash,
            index: self.index,
        }
    }
}

/// What can be in a list of places that are free.
pub(super) trait Place {
    /// A place that nobody has used.
    const FREE: Self;

    /// The link to the next place.
    fn next(&mut self) -> &mut u32;
}

/// Memory for `N` places.
pub(super) type Segment<T, const N: usize> = [T; N];

/// Numbered places, in segments of `N`.
pub(super) struct Places<T: Place, const N: usize> {
    segments: KVVec<KBox<Segment<T, N>>>,
    free: u32,
}

impl<T: Place, const N: usize> Places<T, N> {
    /// None yet, and at most `most`, which must be below 2^31. May sleep.
    fn new(most: usize) -> Result<Self> {
        Ok(Self {
            segments: Self::room(most)?,
            free: NIL,
        })
    }

    /// A list for the segments of `most` places. May sleep.
    fn room(most: usize) -> Result<KVVec<KBox<Segment<T, N>>>> {
        segments::with_room(most.div_ceil(N))
    }

    /// Memory for `N` more places. Sleeps as `flags` allow.
    pub(super) fn allocate(flags: Flags) -> Result<KBox<Segment<T, N>>> {
        KBox::init(pin_init::init_array_from_fn(|_| T::FREE), flags)
    }

    fn len(&self) -> u32 {
        // CAST: Below 2^31 plus a segment, see `new`.
        (self.segments.len() * N) as u32
    }

    /// Adds places, unless there are as many as there may be: then they come back.
    pub(super) fn add(&mut self, segment: KBox<Segment<T, N>>) -> Option<KBox<Segment<T, N>>> {
        let start = self.len();
        if let Err(error) = self.segments.push_within_capacity(segment) {
            return Some(error.0);
        }
        // The lowest number first.
        for place in (start..self.len()).rev() {
            self.give(place);
        }
        None
    }

    fn is_full(&self) -> bool {
        self.free == NIL && self.segments.len() == self.segments.capacity()
    }

    fn take(&mut self) -> Option<u32> {
        let place = self.free;
        if place == NIL {
            return None;
        }
        self.free = mem::replace(self.at(place).next(), NIL);
        Some(place)
    }

    /// For [`Places::take`], soon: reads what that does.
    fn read_ahead(&mut self) {
        if self.free != NIL {
            hint::black_box(*self.at(self.free).next());
        }
    }

    /// The inverse of [`Places::take`].
    fn put_back(&mut self, place: u32) {
        *self.at(place) = T::FREE;
        self.give(place);
    }

    fn give(&mut self, place: u32) {
        *self.at(place).next() = self.free;
        self.free = place;
    }

    // PANIC: Numbers come out of lists, which have only those of places that exist, or were
    // compared with `len`.
    #[inline]
    fn at(&mut self, place: u32) -> &mut T {
        // CAST: `u32` to `usize` is lossless.
        &mut self.segments[place as usize / N][place as usize % N]
    }

    #[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
    fn used(&mut self) -> u32 {
        let (mut used, mut place) = (self.len(), self.free);
        while place != NIL {
            used -= 1;
            place = *self.at(place).next();
        }
        used
    }

    fn bytes(&self) -> usize {
        // The slab allocator gives out powers of two.
        self.segments.len() * size_of::<Segment<T, N>>().next_power_of_two()
            + self.segments.capacity() * size_of::<KBox<Segment<T, N>>>()
    }
}

/// Slots of a bucket.
const WAYS: usize = 16;

/// Slots in use, of [`WAYS`], in the mean if there are as many contents as there may be.
const LOAD: usize = 10;

/// The contents of some tags, the newest first, see the top of this file.
#[derive(Clone)]
#[repr(align(64))]
struct Bucket([u32; WAYS]);

static_assert!(size_of::<Bucket>() == 64);

impl Bucket {
    /// The bits of a place.
    const PLACE: u32 = (1 << 24) - 1;

    /// No content. Behind it, there is none either.
    const NONE: u32 = u32::MAX;

    const EMPTY: Self = Self([Self::NONE; WAYS]);

    /// The part of a tag that is in a slot. Others pick the bucket.
    fn part(tag: u32) -> u32 {
        tag & 0xff
    }

    /// The places of those that may have this tag.
    fn places(&self, tag: u32) -> impl Iterator<Item = u32> + '_ {
        // All slots, though those behind the last one are empty: processors guess a loop of a fixed
        // length right.
        self.0
            .iter()
            .filter(move |slot| **slot >> 24 == Self::part(tag) && **slot != Self::NONE)
            .map(|slot| slot & Self::PLACE)
    }

    /// Adds a content. If that leaves no slot for the oldest, returns its place.
    fn push(&mut self, tag: u32, place: u32) -> Option<u32> {
        let [.., oldest] = self.0;
        self.0.copy_within(..WAYS - 1, 1);
        self.0[0] = Self::part(tag) << 24 | place;
        (oldest != Self::NONE).then_some(oldest & Self::PLACE)
    }

    fn remove(&mut self, place: u32) {
        let way = self.0.iter().position(|slot| slot & Self::PLACE == place);
        if let Some(older) = way.and_then(|way| self.0.get_mut(way..)) {
            older.rotate_left(1);
            if let Some(last) = older.last_mut() {
                *last = Self::NONE;
            }
        }
    }
}

/// Places for descriptors that a shard may have: their numbers have to fit a slot, and none is like
/// [`Bucket::NONE`].
pub(super) const MOST_CONTENTS: usize = (1 << 24) - 1024;

/// A page content descriptor.
pub(super) struct Content {
    /// [`TAG`], [`SPARED`], [`HIDDEN`].
    tag: u32,
    /// Until it is published, [`NO_COPY`]: then nobody finds it.
    copy: u32,
    /// The first of its further entries, or the next free place.
    more: u32,
    /// One of its entries.
    entry: Entry,
}

static_assert!(size_of::<Content>() == 24);

impl Place for Content {
    const FREE: Self = Self {
        tag: 0,
        copy: NO_COPY,
        more: NIL,
        entry: Entry::NONE,
    };

    fn next(&mut self) -> &mut u32 {
        &mut self.more
    }
}

/// An entry beyond the first of a content.
pub(super) struct More {
    entry: Entry,
    next: u32,
}

static_assert!(size_of::<More>() == 16);

impl Place for More {
    const FREE: Self = Self {
        entry: Entry::NONE,
        next: NIL,
    };

    fn next(&mut self) -> &mut u32 {
        &mut self.next
    }
}

/// Descriptors, 1 KiB a segment.
pub(super) type Contents = Places<Content, 42>;

static_assert!(size_of::<Segment<Content, 42>>() <= 1024);

/// Further entries, 1 KiB a segment.
pub(super) type Mores = Places<More, 64>;

/// What came of an attempt to join a content.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Join {
    /// The entry has a part in this copy.
    Done(u32),
    /// There is no place for the entry: add some.
    NeedPlaces,
    /// The content has as many entries as it may have. It will not be found again.
    Full,
}

/// What is left when an entry has gone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// Others share the copy.
    Others,
    /// Nothing: the descriptor is gone, the copy belongs to the caller.
    Nothing,
    /// There was no such entry.
    Unknown,
}

/// Everything under one lock.
pub(super) struct Shard {
    buckets: KVVec<Bucket>,
    pub(super) contents: Contents,
    pub(super) mores: Mores,
}

/// Room for more places than a shard has.
pub(super) struct Larger {
    buckets: KVVec<Bucket>,
    contents: KVVec<KBox<Segment<Content, 42>>>,
    mores: KVVec<KBox<Segment<More, 64>>>,
}

impl Shard {
    /// Room for at most that many contents and further entries. May sleep.
    pub(super) fn new(contents: usize, mores: usize) -> Result<Self> {
        let contents = contents.clamp(1, MOST_CONTENTS);
        Ok(Self {
            buckets: Self::buckets(contents)?,
            contents: Places::new(contents)?,
            mores: Places::new(mores)?,
        })
    }

    /// Buckets for so many contents. May sleep.
    fn buckets(contents: usize) -> Result<KVVec<Bucket>> {
        let buckets = contents.div_ceil(LOAD);
        Ok(KVVec::from_elem(Bucket::EMPTY, buckets, GFP_KERNEL)?)
    }

    /// More room for places, to be made with no lock held, for [`Shard::enlarge`]. May sleep.
    pub(super) fn room(contents: usize, mores: usize) -> Result<Larger> {
        let contents = contents.clamp(1, MOST_CONTENTS);
        Ok(Larger {
            buckets: Self::buckets(contents)?,
            contents: Contents::room(contents)?,
            mores: Mores::room(mores)?,
        })
    }

    /// Takes over what of `larger` is larger than what is here. What is left in it is to be
    /// dropped without a lock.
    ///
    /// A larger table begins empty, so that nobody waits for all of it to be moved: what is here
    /// serves those that have a part in it, but is not found again.
    pub(super) fn enlarge(&mut self, larger: &mut Larger) {
        if larger.buckets.len() > self.buckets.len() {
            mem::swap(&mut self.buckets, &mut larger.buckets);
        }
        segments::adopt(&mut self.contents.segments, &mut larger.contents);
        segments::adopt(&mut self.mores.segments, &mut larger.mores);
    }

    /// The number of the bucket of a tag.
    fn bucket(&self, tag: u32) -> usize {
        // CAST: A fraction below one, in 30 bits, of a length below 2^24.
        ((u64::from(tag & TAG) * self.buckets.len() as u64) >> TAG.count_ones()) as usize
    }

    /// Takes a descriptor out of its bucket, where nobody will find it again.
    // PANIC: `bucket` returns numbers of buckets.
    fn hide(&mut self, place: u32) {
        let content = self.contents.at(place);
        let tag = content.tag;
        content.tag |= HIDDEN;
        if tag & HIDDEN == 0 {
            let bucket = self.bucket(tag);
            self.buckets[bucket].remove(place);
        }
    }

    /// For [`Shard::find`], soon: what that looks at first comes from memory meanwhile. Most pages
    /// find nothing, and take a place next, so this is for both.
    // PANIC: As for `hide`.
    pub(super) fn read_ahead(&mut self, tag: u32) {
        self.contents.read_ahead();
        let [newest, ..] = self.buckets[self.bucket(tag)].0;
        hint::black_box(newest);
    }

    /// The descriptor of content `tag` that comes after `skip` others, if there is one. With a
    /// `pool`, only those that a page of that pool was stored for count.
    // PANIC: As for `hide`.
    pub(super) fn find(&mut self, tag: u32, pool: Option<u32>, mut skip: usize) -> Option<u32> {
        let bucket = self.bucket(tag);
        for place in self.buckets[bucket].places(tag) {
            let content = self.contents.at(place);
            let here = (content.tag ^ tag) & TAG == 0 && content.copy != NO_COPY;
            if here && pool.is_none_or(|pool| pool == content.entry.pool) {
                if skip == 0 {
                    return Some(place);
                }
                skip -= 1;
            }
        }
        None
    }

    /// Adds an entry to a descriptor that [`Shard::find`] found.
    pub(super) fn join(&mut self, place: u32, entry: Entry) -> Join {
        let mut entries = 1;
        let mut more = self.contents.at(place).more;
        while more != NIL {
            more = self.mores.at(more).next;
            entries += 1;
        }
        if entries >= MOST_ENTRIES {
            self.hide(place);
            return Join::Full;
        }
        let Some(new) = self.mores.take() else {
            return Join::NeedPlaces;
        };
        let content = self.contents.at(place);
        let next = mem::replace(&mut content.more, new);
        content.tag &= !SPARED;
        *self.mores.at(new) = More { entry, next };
        Join::Done(self.contents.at(place).copy)
    }

    /// Sets a descriptor apart, with one entry. It is not found until it is published.
    ///
    /// It is in its bucket at once: after a miss, and before the page is compressed, that line is
    /// at hand.
    // PANIC: As for `hide`.
    pub(super) fn prepare(&mut self, tag: u32, entry: Entry) -> Option<u32> {
        let place = self.contents.take()?;
        *self.contents.at(place) = Content {
            tag: tag & TAG,
            copy: NO_COPY,
            more: NIL,
            entry,
        };
        let bucket = self.bucket(tag);
        if let Some(oldest) = self.buckets[bucket].push(tag, place) {
            self.contents.at(oldest).tag |= HIDDEN;
        }
        Some(place)
    }

    /// Gives back a descriptor.
    pub(super) fn give_back(&mut self, place: u32) {
        self.hide(place);
        self.contents.put_back(place);
    }

    /// Makes a descriptor that was set apart the one of a copy.
    pub(super) fn publish(&mut self, place: u32, copy: u32) {
        self.contents.at(place).copy = copy;
    }

    /// Whether this is the descriptor of that copy.
    fn is_of(&mut self, place: u32, copy: u32) -> bool {
        copy != NO_COPY && place < self.contents.len() && self.contents.at(place).copy == copy
    }

    /// One of the entries of a copy.
    pub(super) fn an_entry(&mut self, place: u32, copy: u32) -> Option<Entry> {
        self.is_of(place, copy)
            .then(|| self.contents.at(place).entry)
    }

    /// Takes an entry out, and the descriptor if it was the last.
    pub(super) fn leave(&mut self, place: u32, copy: u32, entry: Entry) -> Left {
        if !self.is_of(place, copy) {
            return Left::Unknown;
        }
        let content = self.contents.at(place);
        let first = content.more;
        if content.entry == entry {
            if first == NIL {
                self.give_back(place);
                return Left::Nothing;
            }
            // Another one moves up.
            let up = self.mores.at(first).entry;
            let next = self.mores.at(first).next;
            let content = self.contents.at(place);
            content.entry = up;
            content.more = next;
            self.mores.put_back(first);
            return Left::Others;
        }
        let mut before = NIL;
        let mut more = first;
        while more != NIL {
            let at = self.mores.at(more);
            let next = at.next;
            if at.entry == entry {
                match before {
                    NIL => self.contents.at(place).more = next,
                    before => self.mores.at(before).next = next,
                }
                self.mores.put_back(more);
                return Left::Others;
            }
            before = more;
            more = next;
        }
        Left::Unknown
    }

    /// Whether several entries share the copy and it was not spared since the last one came; then
    /// notes that it was.
    pub(super) fn spare(&mut self, place: u32, copy: u32) -> bool {
        if !self.is_of(place, copy) {
            return false;
        }
        let content = self.contents.at(place);
        let spare = content.more != NIL && content.tag & SPARED == 0;
        if spare {
            content.tag |= SPARED;
        }
        spare
    }

    /// Whether no more descriptors can be added.
    pub(super) fn is_full(&self) -> bool {
        self.contents.is_full()
    }

    /// Whether no more further entries can be added.
    pub(super) fn mores_are_full(&self) -> bool {
        self.mores.is_full()
    }

    /// Memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<Bucket>() + self.contents.bytes() + self.mores.bytes()
    }

    /// Descriptors, published or not, and further entries in use.
    #[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
    pub(super) fn used(&mut self) -> (u32, u32) {
        (self.contents.used(), self.mores.used())
    }
}
