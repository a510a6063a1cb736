// SPDX-License-Identifier: GPL-2.0

//! How often each page was put of late: 2 bytes for each page of RAM.
//!
//! What is known of a page elsewhere does not help. Shadow entries of the page cache are reclaimed
//! under the very pressure that puts come from, and `PG_workingset` is set from them. So this is a
//! history of zcache's own, of pages that were put, whether they were stored or not.
//!
//! ```text
//!   hash of a page --upper half--> a set: one word
//!                  --9 bits------> a tag in it
//!
//!   63  60 59     48 47     36 35     24 23     12 11          0
//!   +-----+---------+---------+---------+---------+-----------+
//!   | age | 5th     | 4th     | 3rd     | 2nd     | count|tag |  a set, the newest first
//!   +-----+---------+---------+---------+---------+-----------+
//! ```
//!
//! A set holds [`WAYS`] pages, each with a count up to [`MOST`]. A page that is not there takes the
//! place of the one with the lowest count, of these the oldest. So a stream, whose pages come once,
//! replaces itself, and leaves alone what came twice.
//!
//! All counts are halved at the same time, once for every [`SPAN`] puts an entry: what was wanted
//! long ago gives way. It must be all at once: two pages that are put equally often have equal
//! counts then, give or take one, and which of them is counted higher does not depend on luck.
//! Nothing walks the table for that. A set knows its age, and is halved when it is next looked at.
//!
//! Two pages of one set with equal tags are taken for one: one look in a hundred finds a page that
//! was not put. A page more or less in the store is all that follows from any error here, so a set
//! is one atomic word without a lock, and two processors that update it at once lose one update.

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

use crate::tmem::BackRef;

/// Pages of RAM for which there is one set.
const SHARE: usize = 4;

/// Pages in a set.
const WAYS: u32 = 5;

/// Bits of an entry: a tag, and a count above it.
const ENTRY_BITS: u32 = 12;

/// Bits of a tag.
const TAG_BITS: u32 = 9;

/// Where the age of a set begins.
const AGE_SHIFT: u32 = WAYS * ENTRY_BITS;

/// Ages until they repeat.
const AGES: u64 = 16;

/// The highest count.
pub(crate) const MOST: u8 = 7;

/// Counts are halved once in this many puts an entry.
///
/// With one, a page that comes round after as many others as there are entries is forgotten most
/// times, and in a simulation of wanted pages among a stream a third of the hits is lost. With
/// four, it takes longer until pages that were wanted once give way.
const SPAN: u64 = 2;

/// One page in a set. A count of zero means that there is none.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Entry {
    tag: u16,
    count: u8,
}

/// The content of one set.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Set {
    /// The newest first.
    entries: [Entry; WAYS as usize],
    /// How often all sets had been halved when this one was written, modulo [`AGES`].
    age: u64,
}

impl Set {
    fn from_word(word: u64) -> Self {
        let mut set = Self {
            age: word >> AGE_SHIFT,
            ..Self::default()
        };
        for (entry, way) in set.entries.iter_mut().zip(0u32..) {
            let bits = word >> (way * ENTRY_BITS);
            // CAST: What the masks leave fits.
            *entry = Entry {
                tag: (bits & ((1 << TAG_BITS) - 1)) as u16,
                count: (bits >> TAG_BITS) as u8 & MOST,
            };
        }
        set
    }

    fn to_word(self) -> u64 {
        let age = self.age << AGE_SHIFT;
        self.entries
            .iter()
            .zip(0u32..)
            .fold(age, |word, (entry, way)| {
                let bits = u64::from(entry.count) << TAG_BITS | u64::from(entry.tag);
                word | bits << (way * ENTRY_BITS)
            })
    }

    /// The set as it is at `age`.
    fn at(mut self, age: u64) -> Self {
        let missed = age.wrapping_sub(self.age) % AGES;
        for entry in &mut self.entries {
            // CAST: Below `AGES`.
            entry.count = entry.count.checked_shr(missed as u32).unwrap_or(0);
        }
        self.age = age % AGES;
        self
    }

    fn find(&self, tag: u16) -> Option<usize> {
        self.entries
            .iter()
            .position(|entry| entry.count != 0 && entry.tag == tag)
    }

    /// How often the page with that tag was put.
    fn count(&self, tag: u16) -> u8 {
        self.find(tag)
            .and_then(|way| self.entries.get(way))
            .map_or(0, |entry| entry.count)
    }

    /// Counts one put of the page with that tag, which makes it the newest.
    fn add(&mut self, tag: u16) {
        let count = self.count(tag).saturating_add(1).min(MOST);
        let way = self.find(tag).unwrap_or_else(|| self.least());
        if let Some(older) = self.entries.get_mut(..=way) {
            older.rotate_right(1);
        }
        if let Some(first) = self.entries.first_mut() {
            *first = Entry { tag, count };
        }
    }

    /// The place of the page with the lowest count, of these the oldest.
    fn least(&self) -> usize {
        let oldest_first = self.entries.iter().enumerate().rev();
        oldest_first
            .min_by_key(|(_, entry)| entry.count)
            .map_or(0, |(way, _)| way)
    }
}

/// The history of all pages.
pub(crate) struct History {
    sets: KVVec<Atomic<u64>>,
    /// Puts ever counted.
    puts: Atomic<u64>,
    /// Puts between two halvings.
    span: u64,
}

impl History {
    /// An empty history for a system with `ram` pages of memory: it knows a quarter more. May
    /// sleep. Fails with [`ENOMEM`].
    pub(crate) fn new(ram: usize) -> Result<Self> {
        let count = ram.div_ceil(SHARE).clamp(1, 1 << 31);
        let mut sets = KVVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            sets.push(Atomic::new(0), GFP_KERNEL)?;
        }
        Ok(Self {
            sets,
            puts: Atomic::new(0),
            // CAST: A `usize` fits 64 bits.
            span: count as u64 * u64::from(WAYS) * SPAN,
        })
    }

    /// Notes that a page is put. Returns how often it was before, of late: 0 to [`MOST`].
    ///
    /// Any context.
    pub(crate) fn put(&self, page: BackRef) -> u8 {
        let age = self.puts.fetch_add(1, Relaxed) / self.span;
        let Some((word, tag)) = self.place(page) else {
            return 0;
        };
        let mut set = Set::from_word(word.load(Relaxed)).at(age);
        let before = set.count(tag);
        set.add(tag);
        word.store(set.to_word(), Relaxed);
        before
    }

    /// Puts of any pages so far. Any context.
    pub(crate) fn puts(&self) -> u64 {
        self.puts.load(Relaxed)
    }

    /// How often a page was put, of late: 0 to [`MOST`]. Any context.
    pub(crate) fn count(&self, page: BackRef) -> u8 {
        let age = self.puts() / self.span;
        self.place(page).map_or(0, |(word, tag)| {
            Set::from_word(word.load(Relaxed)).at(age).count(tag)
        })
    }

    /// Memory that it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.sets.capacity() * size_of::<Atomic<u64>>()
    }

    /// The set of a page, and its tag there.
    fn place(&self, page: BackRef) -> Option<(&Atomic<u64>, u16)> {
        let hash = mix(page);
        // CAST: The product of two numbers below 2^32, of which the upper half is below the second.
        // So the hash is spread over any number of sets without a division.
        let number = ((hash >> 32) * self.sets.len() as u64) >> 32;
        // CAST: As above, and the mask leaves 9 bits.
        let tag = (hash & ((1 << TAG_BITS) - 1)) as u16;
        Some((self.sets.get(number as usize)?, tag))
    }
}

/// Spreads what names a page over 64 bits, each of which depends on all of the name.
pub(crate) fn mix(page: BackRef) -> u64 {
    // Odd numbers without a pattern: the golden ratio, and the digits of pi.
    const FIRST: u64 = 0x9e37_79b9_7f4a_7c15;
    const SECOND: u64 = 0x2438_d313_198a_2e03;
    let name = u64::from(page.hash) << 32 | u64::from(page.index);
    let mut hash = name ^ page.pool.0.wrapping_mul(FIRST);
    for factor in [FIRST, SECOND | 1] {
        hash = (hash ^ (hash >> 32)).wrapping_mul(factor);
    }
    hash ^ (hash >> 32)
}

#[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
#[kernel::macros::kunit_tests(zcache_history)]
mod tests {
    use super::*;
    use crate::{
        policy::{
            Percent,
            Policy, //
        },
        tmem::PoolId, //
    };

    fn page(number: u32) -> BackRef {
        BackRef {
            pool: PoolId(1),
            hash: number >> 6,
            index: number & 63,
        }
    }

    /// Every age with every count in every place, and tags at the ends of their range.
    #[test]
    fn words_hold_all_that_a_set_says() {
        for age in 0..AGES {
            for way in 0..WAYS as usize {
                for count in 0..=MOST {
                    for tag in [0, 1, 255, 256, 511] {
                        let mut set = Set {
                            age,
                            ..Set::default()
                        };
                        set.entries[way] = Entry { tag, count };
                        assert!(Set::from_word(set.to_word()) == set);
                    }
                }
            }
        }
    }

    /// All sequences of six puts of four pages, against a list that says the same in other words:
    /// all pages fit, so each count is the number of puts.
    #[test]
    fn what_fits_is_counted() {
        for sequence in 0..4u32.pow(6) {
            let mut set = Set::default();
            let mut counts = [0; 4];
            for step in 0..6 {
                let tag = sequence / 4u32.pow(step) % 4;
                set.add(tag as u16);
                counts[tag as usize] += 1;
            }
            for (tag, count) in counts.iter().enumerate() {
                assert_eq!(set.count(tag as u16), *count);
            }
        }
    }

    /// All sequences of six puts of six pages over one set: the last page is always known, at
    /// most five are, and none is counted more often than it was put.
    #[test]
    fn what_does_not_fit_is_never_overcounted() {
        for sequence in 0..6u32.pow(6) {
            let mut set = Set::default();
            let mut counts = [0u8; 6];
            let mut last = 0;
            for step in 0..6 {
                last = sequence / 6u32.pow(step) % 6;
                set.add(last as u16);
                counts[last as usize] += 1;
            }
            let seen: [u8; 6] = core::array::from_fn(|tag| set.count(tag as u16));
            assert!(seen[last as usize] >= 1);
            assert!(seen.iter().filter(|count| **count > 0).count() <= WAYS as usize);
            assert!(seen.iter().zip(&counts).all(|(seen, put)| seen <= put));
        }
    }

    #[test]
    fn a_stream_leaves_alone_what_came_twice() {
        let mut set = Set::default();
        for tag in [1, 2, 1, 2] {
            set.add(tag);
        }
        for tag in 100..200 {
            set.add(tag);
        }
        assert_eq!((set.count(1), set.count(2)), (2, 2));
        assert_eq!((set.count(199), set.count(197), set.count(196)), (1, 1, 0));
    }

    #[test]
    fn counts_are_halved_once_an_age() {
        let mut set = Set::default();
        for _ in 0..20 {
            set.add(3);
        }
        for (age, count) in [(0, MOST), (1, MOST / 2), (2, MOST / 4), (3, 0), (15, 0)] {
            assert_eq!(set.at(age).count(3), count);
        }
        // Ages repeat: from the last to the first is one.
        assert_eq!(set.at(15).age, 15);
        let late = Set { age: 15, ..set };
        assert_eq!(late.at(16).count(3), MOST / 2);
        assert_eq!(late.at(16).age, 0);
    }

    #[test]
    fn puts_are_counted_up_to_the_most() -> Result {
        let history = History::new(1000)?;
        assert_eq!(history.count(page(7)), 0);
        for before in 0..MOST + 3 {
            assert_eq!(history.put(page(7)), before.min(MOST));
        }
        assert_eq!(history.count(page(7)), MOST);
        // Other pages, files and pools are not meant.
        assert_eq!(history.count(page(8)), 0);
        assert_eq!(history.count(page(7 + 64)), 0);
        let elsewhere = BackRef {
            pool: PoolId(2),
            ..page(7)
        };
        assert_eq!(history.count(elsewhere), 0);
        Ok(())
    }

    #[test]
    fn tiny_histories_work() -> Result {
        for ram in [0, 1, 4, 5] {
            let history = History::new(ram)?;
            assert_eq!(history.put(page(1)), 0);
            assert_eq!(history.put(page(1)), 1);
            assert!(history.bytes() >= 8);
        }
        assert_eq!(History::new(1000)?.bytes(), 2000);
        Ok(())
    }

    /// Pages that come once are not taken for others, but for a few.
    #[test]
    fn strangers_are_strange() -> Result {
        let history = History::new(10_000)?;
        for number in 0..10_000 {
            history.put(page(number));
        }
        let known = (0..10_000).filter(|n| history.count(page(*n)) > 0).count();
        let strange = (10_000..20_000).filter(|n| history.count(page(*n)) > 0);
        assert!(known > 8_500);
        assert!(strange.count() < 150);
        Ok(())
    }

    /// A page cache of `cache` pages that forgets what it read first, over a store of `held` pages
    /// that admits as `store.rs` does, each page by itself. Returns the percentage of hits in a
    /// scan of `scan` pages, from the third pass on.
    fn scan(cache: u32, held: usize, ram: usize, scan: u32, passes: u32) -> Result<usize> {
        let history = History::new(ram)?;
        let policy = Policy::new(ram, Percent::files(50));
        // Pages in the store in the order of their age; a hole is a page that was taken out.
        let mut store = KVec::<Option<u32>>::new();
        let mut stored = KVec::from_elem(usize::MAX, scan as usize, GFP_KERNEL)?;
        let mut first = 0;
        let mut count = 0;
        let mut hits = 0;
        for step in 0..scan * passes {
            let number = step % scan;
            let place = core::mem::replace(&mut stored[number as usize], usize::MAX);
            if place != usize::MAX {
                store[place] = None;
                count -= 1;
                hits += usize::from(step >= scan * 2);
            }
            let Some(out) = step.checked_sub(cache).map(|step| step % scan) else {
                continue;
            };
            let before = history.put(page(out));
            if count >= held {
                while store[first].is_none() {
                    first += 1;
                }
                let oldest = store[first].take().ok_or(EINVAL)?;
                first += 1;
                let beaten = history.count(page(oldest)) < before;
                if !beaten && !policy.replaces() {
                    if before > 0 {
                        stored[oldest as usize] = store.len();
                        store.push(Some(oldest), GFP_KERNEL)?;
                    } else {
                        first -= 1;
                        store[first] = Some(oldest);
                    }
                    continue;
                }
                stored[oldest as usize] = usize::MAX;
                count -= 1;
            }
            stored[out as usize] = store.len();
            store.push(Some(out), GFP_KERNEL)?;
            count += 1;
        }
        Ok(hits * 100 / (scan * (passes - 2)) as usize)
    }

    /// A scan that does not fit, over and over: what is stored stays and is hit. Plain LRU hits
    /// nothing here.
    #[test]
    fn scans_keep_their_hits() -> Result {
        for pages in [2750, 3750, 5000, 7500, 10_000] {
            let percent = scan(800, 1700, 2000, pages, 10)?;
            // 800 pages are in the page cache, so the store has 1700 of the others.
            let most = 100 * 1700 / (pages as usize - 800);
            // Hits come in runs, which do not divide by passes.
            assert!(percent <= most + 3);
            assert!(percent * 10 >= most * 8);
        }
        Ok(())
    }
}
