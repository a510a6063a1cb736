// SPDX-License-Identifier: GPL-2.0

//! A part of the descriptors: hash chains through a table, under one lock.
//!
//! The table grows by segments, which move nothing and need no large allocation, and links are
//! numbers, as in zbud. There are as many chains as there are places for descriptors, and a segment
//! has as many heads of chains as it has places: so the chains stay short however large the table
//! is, and nothing is ever rehashed as a whole. A new segment splits as many chains as it has heads
//! (linear hashing).
//!
//! Most puts find nothing, and each look at a descriptor is a cache miss. So a head, which shares
//! its cache line with 15 others, has one bit for each eighth of the tags, and says of most tags
//! that they are not in the chain.
//!
//! Nothing here sleeps, allocates or frees memory, or calls anybody.

use core::mem;

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

/// The part of a hash that a descriptor keeps, and that picks its chain.
pub(super) const TAG: u32 = (1 << 30) - 1;

/// Beside the tag: eviction has spared this content, and will not do so again.
const SPARED: u32 = 1 << 30;

/// Beside the tag: on no chain, because it has as many entries as it may have, or there are too
/// many others with this tag.
const HIDDEN: u32 = 1 << 31;

/// Descriptors of one tag that can be found.
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

    /// What there is as often as there are places.
    type Head: Copy;

    /// A head that nobody has used.
    const HEAD: Self::Head;

    /// The link to the next place.
    fn next(&mut self) -> &mut u32;
}

/// Memory for `N` places and their heads.
pub(super) struct Segment<T: Place, const N: usize> {
    places: [T; N],
    heads: [T::Head; N],
}

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
        KBox::init(
            init!(Segment {
                places <- pin_init::init_array_from_fn(|_| T::FREE),
                heads: [T::HEAD; N],
            }),
            flags,
        )
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
        self.free = *self.at(place).next();
        Some(place)
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
        &mut self.segments[place as usize / N].places[place as usize % N]
    }

    // PANIC: As for `at`.
    #[inline]
    fn head(&mut self, number: u32) -> &mut T::Head {
        // CAST: `u32` to `usize` is lossless.
        &mut self.segments[number as usize / N].heads[number as usize % N]
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
        self.segments.len() * size_of::<Segment<T, N>>()
            + self.segments.capacity() * size_of::<KBox<Segment<T, N>>>()
    }
}

/// The head of a chain: the first descriptor in the lower bits, and a bit for each eighth of the
/// tags that may be in it above.
#[derive(Clone, Copy)]
pub(super) struct Head(u32);

impl Head {
    /// Bits of the first descriptor.
    const FIRST: u32 = (1 << 24) - 1;

    /// An empty chain.
    const EMPTY: Self = Self(Self::FIRST);

    fn first(self) -> u32 {
        match self.0 & Self::FIRST {
            Self::FIRST => NIL,
            first => first,
        }
    }

    /// The same chain with another first descriptor.
    fn with_first(self, first: u32) -> Self {
        match first {
            NIL => Self::EMPTY,
            first => Self(self.0 & !Self::FIRST | first),
        }
    }

    /// The bit for a tag. Other bits of it pick the chain, up to four million in a shard.
    fn bit(tag: u32) -> u32 {
        1 << (24 + ((tag & TAG) >> 27))
    }

    fn may_have(self, tag: u32) -> bool {
        self.0 & Self::bit(tag) != 0
    }

    fn with_tag(self, tag: u32) -> Self {
        Self(self.0 | Self::bit(tag))
    }
}

/// Places for descriptors that a shard may have: their numbers have to fit a [`Head`].
pub(super) const MOST_CONTENTS: usize = (1 << 24) - 1024;

/// A page content descriptor.
pub(super) struct Content {
    /// [`TAG`], [`SPARED`], [`HIDDEN`].
    tag: u32,
    copy: u32,
    /// The next in its chain, or the next free place.
    next: u32,
    /// The first of its further entries.
    more: u32,
    /// One of its entries.
    entry: Entry,
}

static_assert!(size_of::<Content>() == 28);

impl Place for Content {
    const FREE: Self = Self {
        tag: 0,
        copy: NO_COPY,
        next: NIL,
        more: NIL,
        entry: Entry::NONE,
    };

    type Head = Head;

    const HEAD: Head = Head::EMPTY;

    fn next(&mut self) -> &mut u32 {
        &mut self.next
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

    type Head = ();

    const HEAD: () = ();

    fn next(&mut self) -> &mut u32 {
        &mut self.next
    }
}

/// Descriptors, 1 KiB a segment.
pub(super) type Contents = Places<Content, 32>;

static_assert!(size_of::<Segment<Content, 32>>() == 1024);

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
    pub(super) contents: Contents,
    pub(super) mores: Mores,
}

/// Room for more places than a shard has.
pub(super) struct Larger {
    contents: KVVec<KBox<Segment<Content, 32>>>,
    mores: KVVec<KBox<Segment<More, 64>>>,
}

impl Shard {
    /// Room for at most that many contents and further entries. May sleep.
    pub(super) fn new(contents: usize, mores: usize) -> Result<Self> {
        Ok(Self {
            contents: Places::new(contents.min(MOST_CONTENTS))?,
            mores: Places::new(mores)?,
        })
    }

    /// More room for places, to be made with no lock held, for [`Shard::enlarge`]. May sleep.
    pub(super) fn room(contents: usize, mores: usize) -> Result<Larger> {
        Ok(Larger {
            contents: Contents::room(contents.min(MOST_CONTENTS))?,
            mores: Mores::room(mores)?,
        })
    }

    /// Takes over what of `larger` is larger than what is here. What is left in it is to be
    /// dropped without a lock.
    pub(super) fn enlarge(&mut self, larger: &mut Larger) {
        segments::adopt(&mut self.contents.segments, &mut larger.contents);
        segments::adopt(&mut self.mores.segments, &mut larger.mores);
    }

    /// Number of the chain of a tag, if there are `buckets` of them, which are not none.
    fn bucket(tag: u32, buckets: u32) -> u32 {
        let mask = buckets.next_power_of_two() - 1;
        match tag & TAG & mask {
            bucket if bucket < buckets => bucket,
            // Its chain has not been split yet.
            bucket => bucket & (mask >> 1),
        }
    }

    /// Adds places for descriptors. If there are as many as there may be, they come back.
    pub(super) fn add_contents(
        &mut self,
        segment: KBox<Segment<Content, 32>>,
    ) -> Option<KBox<Segment<Content, 32>>> {
        let old = self.contents.len();
        let excess = self.contents.add(segment);
        for bucket in old.max(1)..self.contents.len() {
            self.split(bucket);
        }
        excess
    }

    /// Moves to chain `bucket`, which is new and the last so far, what belongs there.
    fn split(&mut self, bucket: u32) {
        // All of it is in the chain of which this one is the second half.
        let parent = bucket & !(1 << bucket.ilog2());
        let mut place = mem::replace(self.contents.head(parent), Head::EMPTY).first();
        while place != NIL {
            let content = self.contents.at(place);
            let next = content.next;
            let home = Self::bucket(content.tag, bucket + 1);
            self.push(home, place);
            place = next;
        }
    }

    fn push(&mut self, bucket: u32, place: u32) {
        let tag = self.contents.at(place).tag;
        let head = self.contents.head(bucket);
        let first = head.first();
        *head = head.with_first(place).with_tag(tag);
        self.contents.at(place).next = first;
    }

    /// Takes a descriptor off its chain.
    fn unchain(&mut self, place: u32) {
        let content = self.contents.at(place);
        if content.tag & HIDDEN != 0 {
            return;
        }
        let next = content.next;
        let bucket = Self::bucket(content.tag, self.contents.len());
        let head = self.contents.head(bucket);
        let mut before = head.first();
        if before == place {
            *head = head.with_first(next);
            return;
        }
        while before != NIL {
            let content = self.contents.at(before);
            if content.next == place {
                content.next = next;
                return;
            }
            before = content.next;
        }
    }

    /// Takes a descriptor off its chain, where nobody will find it again.
    fn hide(&mut self, place: u32) {
        self.unchain(place);
        self.contents.at(place).tag |= HIDDEN;
    }

    /// The descriptor of content `tag` that comes after `skip` others, if there is one. With a
    /// `pool`, only those that a page of that pool was stored for count.
    pub(super) fn find(&mut self, tag: u32, pool: Option<u32>, mut skip: usize) -> Option<u32> {
        if self.contents.len() == 0 {
            return None;
        }
        let bucket = Self::bucket(tag, self.contents.len());
        let head = *self.contents.head(bucket);
        if !head.may_have(tag) {
            return None;
        }
        let mut place = head.first();
        while place != NIL {
            let content = self.contents.at(place);
            let here = (content.tag ^ tag) & TAG == 0;
            if here && pool.is_none_or(|pool| pool == content.entry.pool) {
                if skip == 0 {
                    return Some(place);
                }
                skip -= 1;
            }
            place = content.next;
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

    /// Sets a descriptor apart. It is not found until it is published.
    pub(super) fn prepare(&mut self) -> Option<u32> {
        self.contents.take()
    }

    /// Gives back a descriptor that is on no chain.
    pub(super) fn give_back(&mut self, place: u32) {
        self.contents.put_back(place);
    }

    /// Makes a descriptor that was set apart one of a copy, with one entry.
    ///
    /// At most [`CANDIDATES`] of one tag can be found, those that came last. No finder would
    /// compare more, and chains stay short whatever somebody stores.
    pub(super) fn publish(&mut self, place: u32, tag: u32, copy: u32, entry: Entry) {
        if let Some(oldest) = self.find(tag, None, CANDIDATES - 1) {
            self.hide(oldest);
        }
        let content = self.contents.at(place);
        content.tag = tag & TAG;
        content.copy = copy;
        content.entry = entry;
        let bucket = Self::bucket(tag, self.contents.len());
        self.push(bucket, place);
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
                self.unchain(place);
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
        self.contents.bytes() + self.mores.bytes()
    }

    /// Descriptors, published or not, and further entries in use.
    #[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
    pub(super) fn used(&mut self) -> (u32, u32) {
        (self.contents.used(), self.mores.used())
    }
}
