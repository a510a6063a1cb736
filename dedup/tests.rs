// SPDX-License-Identifier: GPL-2.0

//! KUnit suite of the descriptors, over copies that are kept in a table.
//!
//! Tests that are named after a bug say of which one: those of the seed patch (Xen's tmem, 2010)
//! and of the form in which it was merged.

use super::*;

use crate::tmem::PoolId;
use kernel::{
    new_mutex,
    sync::{
        Arc,
        Mutex, //
    },
};

/// Frames of the stores that are made up.
const FRAMES: usize = 64;

/// One stored copy.
struct Slot {
    /// Zero if there is none.
    refs: u32,
    page: KBox<PageBytes>,
}

/// Copies in a table. It tells of misuse, and is a stand-in for the index as well.
struct Table {
    copies: KVec<Slot>,
    /// What the index holds: (entry, descriptor, copy).
    index: KVec<(BackRef, Name, u32)>,
    misuse: u32,
}

#[pin_data]
struct Fake {
    #[pin]
    table: Mutex<Table>,
}

impl Copies for Fake {
    fn equals(&self, copy: u32, page: &PageBytes) -> bool {
        // With DEBUG_ATOMIC_SLEEP, the mutex tells of a spinlock held.
        let mut table = self.table.lock();
        match table.copies.get(copy as usize) {
            Some(slot) if slot.refs != 0 => *slot.page == *page,
            _ => {
                table.misuse += 1;
                false
            }
        }
    }

    fn free_copy(&self, copy: u32) {
        let mut table = self.table.lock();
        match table.copies.get_mut(copy as usize) {
            Some(slot) if slot.refs != 0 => {
                slot.refs -= 1;
                if slot.refs == 0 {
                    slot.page.fill(0xfe);
                }
            }
            _ => table.misuse += 1,
        }
    }
}

fn blank_page() -> Result<KBox<PageBytes>> {
    KBox::init(pin_init::init_zeroed(), GFP_KERNEL)
}

fn back(pool: u64, index: u32) -> BackRef {
    BackRef {
        pool: PoolId(pool),
        hash: 77,
        index,
    }
}

/// Descriptors over a fake, and a page to work with.
struct Rig {
    fake: Arc<Fake>,
    dedup: Dedup,
    page: KBox<PageBytes>,
    mode: Mode,
}

impl Rig {
    fn new() -> Result<Self> {
        let table = Table {
            copies: KVec::new(),
            index: KVec::new(),
            misuse: 0,
        };
        Ok(Self {
            fake: Arc::pin_init(
                pin_init!(Fake { table <- new_mutex!(table, "fake_copies") }),
                GFP_KERNEL,
            )?,
            dedup: Dedup::new(FRAMES)?,
            page: blank_page()?,
            mode: Mode::Pool,
        })
    }

    /// Makes the page one of that seed: it differs from others in its first byte, which the hash
    /// takes unless all hashes are made to collide, and in its last one.
    fn fill(&mut self, seed: u8) {
        let last = self.page.len() - 1;
        self.page[0] = seed;
        self.page[last] = seed;
    }

    fn new_copy(&self) -> Result<u32> {
        let mut copy = blank_page()?;
        copy.copy_from_slice(&*self.page);
        let mut table = self.fake.table.lock();
        let slot = Slot {
            refs: 1,
            page: copy,
        };
        let number = match table.copies.iter().position(|slot| slot.refs == 0) {
            Some(number) => {
                table.copies[number] = slot;
                number
            }
            None => {
                table.copies.push(slot, GFP_KERNEL)?;
                table.copies.len() - 1
            }
        };
        Ok(number as u32)
    }

    fn enter(&self, back: BackRef, name: Name, copy: u32) -> Result {
        let mut table = self.fake.table.lock();
        table.index.push((back, name, copy), GFP_KERNEL)?;
        Ok(())
    }

    /// Puts the page as a store does; an older one of that name goes first. Returns whether it
    /// found its content, and fails if there was no descriptor for it.
    fn put(&mut self, back: BackRef, seed: u8) -> Result<bool> {
        self.flush(back);
        self.fill(seed);
        let hash = self.dedup.hash(self.mode, &self.page, back).ok_or(EINVAL)?;
        if let Some((name, copy)) = self.dedup.find(&*self.fake, hash, &self.page, GFP_KERNEL) {
            self.enter(back, name, copy)?;
            return Ok(true);
        }
        let prepared = self.dedup.prepare(hash, GFP_KERNEL).ok_or(ENOMEM)?;
        let name = prepared.name();
        drop(prepared);
        // Once more: one that is given back changes nothing.
        let prepared = self.dedup.prepare(hash, GFP_KERNEL).ok_or(ENOMEM)?;
        if prepared.name() != name {
            return Err(EILSEQ);
        }
        let copy = self.new_copy()?;
        prepared.publish(copy);
        self.enter(back, name, copy)?;
        Ok(false)
    }

    fn place(&self, back: BackRef) -> Option<usize> {
        let table = self.fake.table.lock();
        table.index.iter().position(|(entry, _, _)| *entry == back)
    }

    fn take(&self, back: BackRef) -> Option<(BackRef, Name, u32)> {
        let place = self.place(back)?;
        self.fake.table.lock().index.remove(place).ok()
    }

    /// Drops an entry as a flush does, and as a get does in the end.
    fn flush(&mut self, back: BackRef) -> bool {
        let Some((back, name, copy)) = self.take(back) else {
            return false;
        };
        if self.dedup.leave(name, copy, back) {
            self.fake.free_copy(copy);
        }
        true
    }

    /// The last byte of the page that an entry leads to.
    fn seed(&self, back: BackRef) -> Option<u8> {
        let place = self.place(back)?;
        let table = self.fake.table.lock();
        let slot = table.copies.get(table.index[place].2 as usize)?;
        (slot.refs != 0).then(|| slot.page[slot.page.len() - 1])
    }

    /// Evicts the copy of an entry, as a store does. Returns whether its memory was won.
    fn evict(&mut self, back: BackRef) -> Result<bool> {
        let place = self.place(back).ok_or(ENOENT)?;
        let (_, name, copy) = self.fake.table.lock().index[place];
        let won = self
            .dedup
            .evict(name, copy, |back| self.take(back).is_some());
        if won {
            self.fake.free_copy(copy);
        }
        Ok(won)
    }

    fn copies(&self) -> u64 {
        let table = self.fake.table.lock();
        table.copies.iter().filter(|slot| slot.refs != 0).count() as u64
    }

    fn contents(&self) -> u64 {
        self.dedup.stats.contents.now()
    }

    fn entries(&self) -> u64 {
        self.dedup.stats.entries.now()
    }

    /// Whether the counters say what the descriptors and the copies say.
    fn sound(&self) -> bool {
        let mut used = (0, 0);
        for shard in self.dedup.shards.iter() {
            let (contents, mores) = shard.lock().used();
            used = (used.0 + u64::from(contents), used.1 + u64::from(mores));
        }
        let table = self.fake.table.lock();
        used == (self.contents(), self.entries() - self.contents())
            && self.entries() == table.index.len() as u64
            && self.dedup.stats.stale.now() == 0
            && table.misuse == 0
    }

    /// Whether nothing is left.
    fn clean(&self) -> bool {
        self.sound() && self.copies() == 0 && self.contents() == 0 && self.entries() == 0
    }
}

#[kernel::macros::kunit_tests(zcache_dedup)]
mod suite {
    use super::*;

    #[test]
    fn equal_pages_share_a_copy() -> Result {
        let mut rig = Rig::new()?;
        assert!(!rig.put(back(1, 0), 5)?);
        assert!(rig.put(back(1, 1), 5)?);
        assert!(rig.put(back(1, 2), 5)?);
        assert_eq!((rig.contents(), rig.entries(), rig.copies()), (1, 3, 1));
        // An exclusive get of a shared page leaves the others.
        assert!(rig.flush(back(1, 0)));
        assert!(rig.flush(back(1, 2)));
        assert_eq!(rig.seed(back(1, 1)), Some(5));
        assert_eq!(rig.copies(), 1);
        // The last one frees the copy.
        assert!(rig.flush(back(1, 1)));
        assert!(rig.clean());
        assert_eq!(rig.dedup.stats.contents.max(), 1);
        assert_eq!(rig.dedup.stats.entries.max(), 3);
        Ok(())
    }

    /// Seed, bug 2: the comparison had no end, so pages were equal if what lay behind them was not.
    #[test]
    fn equal_means_to_the_last_byte() -> Result {
        let mut rig = Rig::new()?;
        rig.dedup.collide(true);
        for index in 0..4 {
            rig.put(back(1, index), index as u8)?;
            // From here on, only the last byte differs.
            let mut table = rig.fake.table.lock();
            for slot in table.copies.iter_mut() {
                slot.page[0] = 4;
            }
        }
        assert_eq!(rig.contents(), 4);
        rig.fill(4);
        for (last, found) in [(0, true), (3, true), (4, false)] {
            let end = rig.page.len() - 1;
            rig.page[end] = last;
            let hash = rig
                .dedup
                .hash(rig.mode, &rig.page, back(2, 0))
                .ok_or(EINVAL)?;
            let hash = Hash {
                pool: Some(1),
                ..hash
            };
            let copy = rig.dedup.find(&*rig.fake, hash, &rig.page, GFP_KERNEL);
            assert_eq!(copy.is_some(), found);
            if let Some((name, copy)) = copy {
                assert!(!rig.dedup.leave(name, copy, back(2, 0)));
            }
        }
        Ok(())
    }

    #[test]
    fn the_last_few_of_one_hash_are_told_apart() -> Result {
        let mut rig = Rig::new()?;
        rig.dedup.collide(true);
        for seed in 0..20 {
            assert!(!rig.put(back(1, seed.into()), seed)?);
        }
        assert_eq!(rig.contents(), 20);
        for seed in 0..20 {
            let found = rig.put(back(2, seed.into()), seed)?;
            assert!(!found);
        }
        rig.mode = Mode::All;
        assert!(rig.put(back(3, 19), 19)?);
        assert!(rig.put(back(3, 16), 16)?);
        assert!(!rig.put(back(3, 15), 15)?);
        assert!(rig.sound());
        for pool in 1..=3 {
            for index in 0..20 {
                let entry = back(pool, index);
                let there = pool != 3 || matches!(index, 15 | 16 | 19);
                assert_eq!(rig.seed(entry), there.then_some(index as u8));
                // All can be evicted, also those that nobody finds.
                assert_eq!(rig.place(entry).is_some(), there);
                if there && pool == 1 {
                    assert!(rig.evict(entry)?);
                }
                rig.flush(entry);
            }
        }
        assert!(rig.clean());
        Ok(())
    }

    /// Pages that are equal in what the hash takes are compared, and are not equal.
    #[test]
    fn pages_that_differ_elsewhere_are_not_equal() -> Result {
        let mut rig = Rig::new()?;
        let key = &rig.dedup.key;
        let blind = (0..rig.page.len()).find(|byte| !key.takes(*byte));
        let blind = blind.ok_or(EINVAL)?;
        rig.page[blind] = 1;
        assert!(!rig.put(back(1, 0), 5)?);
        rig.page[blind] = 2;
        assert!(!rig.put(back(1, 1), 5)?);
        assert_eq!(rig.dedup.stats.differed.now(), 1);
        assert!(rig.put(back(1, 2), 5)?);
        rig.page[blind] = 1;
        assert!(rig.put(back(1, 3), 5)?);
        assert_eq!((rig.contents(), rig.copies()), (2, 2));
        Ok(())
    }

    /// Seed, bug 13: who shares with whom can be told from the time that a put takes.
    #[test]
    fn pools_do_not_share_unless_told_so() -> Result {
        for collide in [false, true] {
            let mut rig = Rig::new()?;
            rig.dedup.collide(collide);
            assert!(!rig.put(back(1, 0), 9)?);
            assert!(!rig.put(back(2, 0), 9)?);
            assert!(rig.put(back(2, 1), 9)?);
            rig.mode = Mode::All;
            // What was found by another hash is not found now, but no harm is done.
            assert_eq!(rig.put(back(3, 0), 9)?, collide);
            assert!(rig.put(back(4, 0), 9)?);
            // Joined while all could share; back to the pools' own.
            rig.mode = Mode::Pool;
            assert!(rig.put(back(1, 1), 9)?);
            assert!(!rig.put(back(5, 0), 9)?);
            assert!(rig.sound());
        }
        Ok(())
    }

    #[test]
    fn off_shares_nothing_and_leaves_the_rest() -> Result {
        let mut rig = Rig::new()?;
        rig.put(back(1, 0), 9)?;
        rig.put(back(1, 1), 9)?;
        assert!(rig.dedup.hash(Mode::Off, &rig.page, back(1, 2)).is_none());
        assert_eq!(rig.seed(back(1, 0)), Some(9));
        assert!(rig.flush(back(1, 0)) && rig.flush(back(1, 1)));
        assert!(rig.clean());
        Ok(())
    }

    /// Seed, bugs 1 and 6: when a descriptor could not be allocated, the tree stayed locked, and
    /// the page was freed as what it was not.
    #[test]
    fn failed_allocation_leaves_no_lock_and_no_trace() -> Result {
        let mut rig = Rig::new()?;
        // No descriptor.
        rig.dedup.fail_at(1);
        assert_eq!(rig.put(back(1, 0), 1), Err(ENOMEM));
        assert!(rig.clean());
        assert!(!rig.put(back(1, 0), 1)?);
        // No place for a further entry: not found, and the page gets a copy of its own.
        rig.dedup.fail_at(1);
        assert!(!rig.put(back(1, 1), 1)?);
        assert_eq!(rig.copies(), 2);
        assert!(rig.put(back(1, 2), 1)?);
        assert_eq!(rig.dedup.stats.failed_alloc.now(), 2);
        for index in 0..3 {
            assert!(rig.flush(back(1, index)));
        }
        assert!(rig.clean());
        Ok(())
    }

    /// Seed, bug 8: an eviction that dropped references and won no memory counted as one that did.
    #[test]
    fn eviction_wins_only_with_the_last_entry() -> Result {
        let mut rig = Rig::new()?;
        for index in 0..5 {
            rig.put(back(1, index), 3)?;
        }
        // A reader has taken one out of the index, and is not done.
        let (entry, name, copy) = rig.take(back(1, 2)).ok_or(EINVAL)?;
        assert!(!rig.evict(back(1, 0))?);
        assert_eq!((rig.contents(), rig.copies()), (1, 1));
        assert!(!rig.dedup.leave(name, copy, entry));
        // It had come to the last but one when it was refused.
        assert!(rig.sound());
        assert_eq!(rig.entries(), 1);
        assert!(rig.evict(back(1, 1))?);
        assert!(rig.clean());
        Ok(())
    }

    #[test]
    fn evicting_a_shared_page_frees_one_copy_and_forgets_all() -> Result {
        for count in 1..=MOST_ENTRIES as u32 {
            let mut rig = Rig::new()?;
            rig.mode = Mode::All;
            for index in 0..count {
                // Of several pools: the seed's bug 9 was to look in one client's list only.
                rig.put(back(1 + u64::from(index % 3), index), 3)?;
            }
            assert_eq!((rig.copies(), rig.entries()), (1, count.into()));
            assert!(rig.evict(back(1, 0))?);
            assert!(rig.clean());
            assert_eq!(rig.fake.table.lock().index.len(), 0);
        }
        Ok(())
    }

    /// A put that has found its content and is not in the index yet cannot be evicted.
    #[test]
    fn eviction_gives_up_on_a_put_under_way() -> Result {
        let mut rig = Rig::new()?;
        rig.put(back(1, 0), 3)?;
        let hash = rig
            .dedup
            .hash(rig.mode, &rig.page, back(1, 1))
            .ok_or(EINVAL)?;
        let found = rig.dedup.find(&*rig.fake, hash, &rig.page, GFP_KERNEL);
        let (name, copy) = found.ok_or(EINVAL)?;
        assert!(!rig.evict(back(1, 0))?);
        assert_eq!(rig.copies(), 1);
        rig.enter(back(1, 1), name, copy)?;
        assert!(rig.evict(back(1, 1))?);
        assert!(rig.clean());
        Ok(())
    }

    /// Eviction comes upon a bud whose descriptor is not published, or is another's by now.
    #[test]
    fn eviction_knows_a_descriptor_by_its_copy() -> Result {
        let mut rig = Rig::new()?;
        rig.fill(1);
        let hash = rig
            .dedup
            .hash(rig.mode, &rig.page, back(1, 0))
            .ok_or(EINVAL)?;
        let prepared = rig.dedup.prepare(hash, GFP_KERNEL).ok_or(ENOMEM)?;
        let name = prepared.name();
        for copy in [0, 7, u32::MAX] {
            assert!(!rig.dedup.evict(name, copy, |_| true));
            assert!(!rig.dedup.spares(name, copy));
        }
        prepared.publish(7);
        assert!(!rig.dedup.evict(name, 8, |_| true));
        assert!(rig.dedup.evict(name, 7, |_| true));
        for raw in [1, 15, 16, 0x7fff_ffff] {
            let name = Name::from_raw(raw).ok_or(EINVAL)?;
            assert!(!rig.dedup.evict(name, 7, |_| true));
            assert!(!rig.dedup.leave(name, 7, back(1, 0)));
        }
        assert_eq!(rig.dedup.stats.stale.now(), 4);
        Ok(())
    }

    /// Seed, bug 9: shared pages went to the end of the list again and again.
    #[test]
    fn a_shared_content_is_spared_once() -> Result {
        let mut rig = Rig::new()?;
        rig.put(back(1, 0), 3)?;
        let (_, name, copy) = rig.fake.table.lock().index[0];
        assert!(!rig.dedup.spares(name, copy));
        rig.put(back(1, 1), 3)?;
        assert!(rig.dedup.spares(name, copy));
        assert!(!rig.dedup.spares(name, copy));
        // Somebody wants it again.
        rig.put(back(1, 2), 3)?;
        assert!(rig.dedup.spares(name, copy));
        assert!(!rig.dedup.spares(name, copy));
        assert_eq!(rig.dedup.stats.spared.now(), 2);
        // Spared or not, it is found.
        assert!(rig.put(back(1, 3), 3)?);
        for index in 1..4 {
            rig.flush(back(1, index));
        }
        assert!(!rig.dedup.spares(name, copy));
        Ok(())
    }

    #[test]
    fn more_than_the_most_entries_get_a_new_copy() -> Result {
        let mut rig = Rig::new()?;
        let most = MOST_ENTRIES as u32;
        for index in 0..3 * most {
            let found = rig.put(back(1, index), 3)?;
            assert_eq!(found, index % most != 0);
        }
        assert_eq!(rig.copies(), 3);
        // The last one is found when it has room again, the others die with their entries.
        assert!(rig.flush(back(1, 0)));
        assert!(rig.flush(back(1, 3 * most - 1)));
        assert!(rig.put(back(1, 0), 3)?);
        assert_eq!(rig.copies(), 3);
        assert!(rig.sound());
        for index in 0..3 * most {
            rig.flush(back(1, index));
        }
        assert!(rig.clean());
        Ok(())
    }

    /// Merged form: counters stayed when pages were evicted, and memory was freed on the account of
    /// somebody else.
    #[test]
    fn counters_return_to_zero() -> Result {
        let mut rig = Rig::new()?;
        let empty = rig.dedup.metadata_bytes();
        for round in 0..3 {
            for index in 0..300 {
                rig.put(back(1, index), (index % 100) as u8)?;
            }
            assert_eq!((rig.contents(), rig.entries()), (100, 300));
            assert!(rig.sound());
            for index in 0..300 {
                match (index + round) % 3 {
                    0 if rig.place(back(1, index)).is_some() => {
                        assert!(rig.evict(back(1, index))?);
                    }
                    _ => {
                        rig.flush(back(1, index));
                    }
                }
            }
            assert!(rig.clean());
        }
        assert!(rig.dedup.metadata_bytes() > empty);
        Ok(())
    }

    /// Put, duplicate put, get or flush, evict, in every order of four steps on two entries and two
    /// contents; then everything that is left is dropped.
    #[test]
    fn every_order_on_a_small_domain() -> Result {
        const STEPS: u32 = 4;
        // Two entries: put either content, flush, evict.
        const KINDS: u32 = 8;
        for collide in [false, true] {
            let mut rig = Rig::new()?;
            rig.dedup.collide(collide);
            for order in 0..KINDS.pow(STEPS) {
                let mut model = [None; 2];
                let mut rest = order;
                for _ in 0..STEPS {
                    let step = rest % KINDS;
                    rest /= KINDS;
                    let which = (step % 2) as usize;
                    let entry = back(1, step % 2);
                    match step / 2 {
                        seed @ (0 | 1) => {
                            let other = model[which ^ 1];
                            let seed = seed as u8;
                            let found = rig.put(entry, seed)?;
                            model[which] = Some(seed);
                            assert_eq!(found, other == Some(seed));
                        }
                        2 => {
                            let there = model[which].take().is_some();
                            assert_eq!(rig.flush(entry), there);
                        }
                        _ => {
                            if let Some(seed) = model[which] {
                                assert!(rig.evict(entry)?);
                                for cell in &mut model {
                                    if *cell == Some(seed) {
                                        *cell = None;
                                    }
                                }
                            }
                        }
                    }
                    for index in 0..2 {
                        assert_eq!(rig.seed(back(1, index)), model[index as usize]);
                    }
                    let contents = match model {
                        [None, None] => 0,
                        [Some(a), Some(b)] if a != b => 2,
                        _ => 1,
                    };
                    assert_eq!((rig.contents(), rig.copies()), (contents, contents));
                }
                rig.flush(back(1, 0));
                rig.flush(back(1, 1));
                assert!(rig.clean());
            }
        }
        Ok(())
    }

    /// A full store with two copies in each frame, none of which is equal to another one.
    #[test]
    fn a_content_costs_at_most_forty_bytes() -> Result {
        const FRAMES: usize = 4000;
        let dedup = Dedup::new(FRAMES)?;
        let mut page = blank_page()?;
        let empty = dedup.metadata_bytes();
        assert!(empty <= 20 * FRAMES);
        for copy in 0..2 * FRAMES as u32 {
            page[..4].copy_from_slice(&copy.to_ne_bytes());
            let hash = dedup.hash(Mode::Pool, &page, back(1, copy)).ok_or(EINVAL)?;
            let prepared = dedup.prepare(hash, GFP_KERNEL).ok_or(ENOMEM)?;
            prepared.publish(copy);
        }
        assert!(dedup.metadata_bytes() <= 40 * 2 * FRAMES);
        Ok(())
    }

    /// Nothing gets lost while the table grows.
    #[test]
    fn all_are_found_while_the_table_grows() -> Result {
        let mut shard = Shard::new(4096, 0)?;
        let entry = Entry::of(back(1, 0)).ok_or(EINVAL)?;
        let tag = |n: u32| n.wrapping_mul(0x9e37_79b9) & TAG;
        for n in 0..1500 {
            let place = match shard.prepare(tag(n), entry) {
                Some(place) => place,
                None => {
                    assert!(shard
                        .contents
                        .add(Contents::allocate(GFP_KERNEL)?)
                        .is_none());
                    shard.prepare(tag(n), entry).ok_or(EINVAL)?
                }
            };
            shard.publish(place, n);
            if n % 31 == 0 || n > 1480 {
                for m in 0..=n {
                    let place = shard.find(tag(m), None, 0).ok_or(EINVAL)?;
                    assert_eq!(shard.an_entry(place, m), Some(entry));
                }
            }
        }
        assert!(shard.find(tag(1500), None, 0).is_none());
        // Out again, every third one first.
        for n in Iterator::chain((0..1500).step_by(3), (0..1500).filter(|n| n % 3 != 0)) {
            let place = shard.find(tag(n), None, 0).ok_or(EINVAL)?;
            assert!(shard.leave(place, n, entry) == Left::Nothing);
            assert!(shard.find(tag(n), None, 0).is_none());
        }
        assert_eq!(shard.used(), (0, 0));
        Ok(())
    }

    /// Of one tag, those that came last are found, the newest first. The others are there.
    #[test]
    fn a_full_bucket_hides_its_oldest() -> Result {
        const WAYS: u32 = 16;
        const TAG_OF_ALL: u32 = 0x1234_56ff;
        let mut shard = Shard::new(64, 0)?;
        assert!(shard
            .contents
            .add(Contents::allocate(GFP_KERNEL)?)
            .is_none());
        let entry = Entry::of(back(1, 0)).ok_or(EINVAL)?;
        let mut places = [0; WAYS as usize + 4];
        for (place, copy) in places.iter_mut().zip(0..) {
            *place = shard.prepare(TAG_OF_ALL, entry).ok_or(EINVAL)?;
            shard.publish(*place, copy);
        }
        let found = |shard: &mut Shard, copies: &[u32]| {
            let all = copies.iter().enumerate().all(|(skip, copy)| {
                shard.find(TAG_OF_ALL, Some(1), skip) == Some(places[*copy as usize])
            });
            all && shard.find(TAG_OF_ALL, Some(1), copies.len()).is_none()
        };
        let newest: [u32; WAYS as usize] = core::array::from_fn(|n| WAYS + 3 - n as u32);
        assert!(found(&mut shard, &newest));
        // Nothing has this tag, though a slot may look like it.
        assert!(shard.find(TAG_OF_ALL ^ 0x100, Some(1), 0).is_none());
        // The newest, the oldest, one between them, and one that is hidden go.
        let mut left = KVec::new();
        for copy in newest {
            match copy {
                19 | 4 | 10 => {
                    let place = places[copy as usize];
                    assert!(shard.leave(place, copy, entry) == Left::Nothing);
                }
                _ => left.push(copy, GFP_KERNEL)?,
            }
            if copy == 10 {
                assert!(shard.leave(places[0], 0, entry) == Left::Nothing);
            }
        }
        assert!(found(&mut shard, &left));
        for copy in (1..19).filter(|copy| !matches!(copy, 4 | 10)) {
            assert!(shard.leave(places[copy as usize], copy, entry) == Left::Nothing);
        }
        assert!(found(&mut shard, &[]));
        assert_eq!(shard.used(), (0, 0));
        Ok(())
    }

    /// What is here when a limit is raised serves those that have a part in it, also if it was
    /// being put meanwhile, and takes nothing along from the new table when it goes.
    #[test]
    fn a_larger_table_begins_empty_and_loses_nothing() -> Result {
        for collide in [false, true] {
            let mut rig = Rig::new()?;
            rig.dedup.collide(collide);
            for index in 0..6 {
                assert_eq!(rig.put(back(1, index), index as u8 / 2)?, index % 2 == 1);
            }
            rig.fill(9);
            let hash = |rig: &Rig, index| rig.dedup.hash(rig.mode, &rig.page, back(1, index));
            let late = hash(&rig, 6).ok_or(EINVAL)?;
            let late = rig.dedup.prepare(late, GFP_KERNEL).ok_or(ENOMEM)?;
            let unused = hash(&rig, 7).ok_or(EINVAL)?;
            let unused = rig.dedup.prepare(unused, GFP_KERNEL).ok_or(ENOMEM)?;
            let before = rig.dedup.metadata_bytes();
            rig.dedup.enlarge(10 * FRAMES)?;
            assert!(rig.dedup.metadata_bytes() > before);
            drop(unused);
            let (name, copy) = (late.name(), rig.new_copy()?);
            late.publish(copy);
            rig.enter(back(1, 6), name, copy)?;
            assert!(rig.sound());

            // Each is stored once more, and found from then on.
            for (seed, index) in [0, 1, 2, 9].into_iter().zip((10..).step_by(2)) {
                assert!(!rig.put(back(1, index), seed)?);
                assert!(rig.put(back(1, index + 1), seed)?);
            }
            assert_eq!((rig.contents(), rig.copies()), (8, 8));
            // Old ones go in all ways.
            assert!(rig.evict(back(1, 0))?);
            assert_eq!(rig.seed(back(1, 1)), None);
            assert!(rig.flush(back(1, 2)));
            assert_eq!(rig.seed(back(1, 3)), Some(1));
            assert!(rig.flush(back(1, 3)));
            assert!(rig.evict(back(1, 6))?);
            for (seed, index) in [0, 1, 2, 9].into_iter().zip(20..) {
                assert!(rig.put(back(1, index), seed)?);
            }
            assert!(rig.sound());
            rig.dedup.enlarge(20 * FRAMES)?;
            rig.dedup.enlarge(5 * FRAMES)?;
            assert!(!rig.put(back(1, 30), 2)?);
            for index in 0..=30 {
                rig.flush(back(1, index));
            }
            assert!(rig.clean());
        }
        Ok(())
    }

    /// A page for which there is no descriptor, or no place in one, is one without; no memory was
    /// asked for.
    #[test]
    fn what_a_full_table_has_no_place_for_shares_nothing() -> Result {
        let mut rig = Rig::new()?;
        rig.dedup.collide(true);
        // One segment of each kind, where all of one hash are.
        let small = Shard::new(1, 1)?;
        let large = mem::replace(&mut *rig.dedup.shard(0).lock(), small);
        drop(large);
        for seed in 0..42 {
            assert!(!rig.put(back(1, seed), seed as u8)?);
        }
        assert_eq!(rig.put(back(1, 42), 42).err(), Some(ENOMEM));
        let mut index = 100;
        for (seed, times) in [(41, 31), (40, 31), (39, 2)] {
            for _ in 0..times {
                assert!(rig.put(back(1, index), seed)?);
                index += 1;
            }
        }
        for seed in 39..42 {
            assert_eq!(rig.put(back(1, index), seed).err(), Some(ENOMEM));
        }
        assert_eq!(rig.dedup.stats.failed_alloc.now(), 0);
        assert!(rig.sound());
        for index in 0..index {
            rig.flush(back(1, index));
        }
        assert!(rig.clean());
        Ok(())
    }

    /// It has a slot from the start, and takes it along when it goes.
    #[test]
    fn nobody_finds_a_content_without_a_copy() -> Result {
        let mut shard = Shard::new(64, 0)?;
        assert!(shard
            .contents
            .add(Contents::allocate(GFP_KERNEL)?)
            .is_none());
        let entry = Entry::of(back(1, 0)).ok_or(EINVAL)?;
        let stored = shard.prepare(5, entry).ok_or(EINVAL)?;
        shard.publish(stored, 7);
        // As many as there are slots: the one before them is pushed out by the last.
        for last in 1..=16 {
            let mut places = KVec::new();
            for _ in 0..last {
                let place = shard.prepare(5, entry).ok_or(EINVAL)?;
                assert!(shard.an_entry(place, u32::MAX).is_none());
                places.push(place, GFP_KERNEL)?;
            }
            let here = (last < 16).then_some(stored);
            assert_eq!(shard.find(5, None, 0), here);
            assert_eq!(shard.find(5, None, 1), None);
            for place in places {
                shard.give_back(place);
            }
            assert_eq!(shard.find(5, None, 0), here);
        }
        assert!(shard.leave(stored, 7, entry) == Left::Nothing);
        assert_eq!(shard.used(), (0, 0));
        assert_eq!(shard.find(5, None, 0), None);
        Ok(())
    }

    #[test]
    fn a_full_table_takes_no_more() -> Result {
        let mut shard = Shard::new(40, 0)?;
        let entry = Entry::of(back(1, 0)).ok_or(EINVAL)?;
        while !shard.is_full() {
            match shard.prepare(0, entry) {
                Some(_) => (),
                None => {
                    let _ = shard.contents.add(Contents::allocate(GFP_KERNEL)?);
                }
            }
        }
        assert!(shard.used().0 >= 40);
        assert!(shard.prepare(0, entry).is_none());
        assert!(shard
            .contents
            .add(Contents::allocate(GFP_KERNEL)?)
            .is_some());
        shard.give_back(3);
        assert!(!shard.is_full());
        Ok(())
    }

    /// Seed, bug 11: pages that begin with zeroes all came into one tree.
    #[test]
    fn alike_pages_spread_over_shards_and_tags() -> Result {
        let mut rig = Rig::new()?;
        let mut counts = [0; SHARDS as usize];
        let mut tags = KVec::new();
        // One bit set, at any place that is taken: almost all begin alike.
        for bit in 0..8 * rig.page.len() {
            if !rig.dedup.key.takes(bit / 8) {
                continue;
            }
            rig.page[bit / 8] = 1 << (bit % 8);
            let hash = rig
                .dedup
                .hash(rig.mode, &rig.page, back(1, 0))
                .ok_or(EINVAL)?;
            rig.page[bit / 8] = 0;
            counts[hash.shard as usize] += 1;
            tags.push(hash.tag, GFP_KERNEL)?;
        }
        // Nine lines of 512 bits.
        assert_eq!(tags.len(), 4608);
        // 288 on average, with a deviation of 16.
        for count in counts {
            assert!(count > 180 && count < 400);
        }
        tags.sort_unstable();
        // Of 2^30 tags: one key in a hundred has one pair that is equal.
        let equal = tags.windows(2).filter(|pair| pair[0] == pair[1]).count();
        assert!(equal <= 2);
        Ok(())
    }

    /// The first line is all that short files have; of each eighth, one line is taken.
    #[test]
    fn all_parts_of_a_page_count() -> Result {
        for _ in 0..100 {
            let key = hash::Key::random();
            assert!(key.takes(0) && key.takes(63));
            for part in 0..8 {
                let taken = (512 * part..512 * (part + 1)).filter(|byte| key.takes(*byte));
                assert_eq!(taken.count(), if part == 0 { 128 } else { 64 });
            }
        }
        Ok(())
    }

    #[test]
    fn the_key_makes_the_hash() -> Result {
        let page = blank_page()?;
        let (one, other) = (hash::Key::random(), hash::Key::random());
        assert_eq!(one.hash(&page, 1), one.hash(&page, 1));
        assert!(one.hash(&page, 1) != one.hash(&page, 2));
        assert!(one.hash(&page, 1) != other.hash(&page, 1));
        Ok(())
    }

    #[test]
    fn names_come_back_from_numbers() {
        assert!(Name::from_raw(0).is_none());
        for (shard, place) in [(0, 0), (15, 0), (0, 1), (7, 12345), (15, (1 << 26) - 1)] {
            let name = Name::new(shard, place);
            assert!(name.to_raw() < 1 << 31);
            assert!(Name::from_raw(name.to_raw()) == Some(name));
            assert_eq!((name.shard(), name.place()), (shard, place));
        }
    }
}
