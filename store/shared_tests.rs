// SPDX-License-Identifier: GPL-2.0

//! KUnit suite of the store where pages are equal, under the core and by itself.

use super::*;

use crate::{
    test_pages::{
        noisy,
        of_file, //
    },
    tmem::{
        ClientId,
        Oid,
        Tmem, //
    }, //
};
use kernel::{
    page::PAGE_SIZE,
    sync::SetOnce, //
};

/// What the stores of this suite share: 0 nothing, 1 in a pool, 2 everything.
static MODE: Atomic<u32> = Atomic::new(0);

fn mode() -> Mode {
    match MODE.load(Relaxed) {
        0 => Mode::Off,
        1 => Mode::Pool,
        _ => Mode::All,
    }
}

fn new_store(frames: usize) -> Result<Pin<KBox<Store>>> {
    MODE.store(1, Relaxed);
    KBox::try_pin_init(
        Store::new(
            Policy::new(frames * 100, Percent::files(1)),
            |_, _| true,
            || usize::MAX,
            mode,
        ),
        GFP_KERNEL,
    )
}

fn blank_page() -> Result<KBox<PageBytes>> {
    KBox::init(pin_init::init_zeroed(), GFP_KERNEL)
}

/// A page of which the first `random` bytes are noise that `seed` makes.
fn fill(page: &mut PageBytes, seed: u32, random: usize) {
    let mut state = seed.wrapping_mul(0x9e37_79b9) ^ 0x5bd1_e995;
    for (place, byte) in page.iter_mut().enumerate() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // CAST: The upper byte, which is the random one.
        *byte = if place < random {
            (state >> 24) as u8
        } else {
            b'a'
        };
    }
}

fn back(index: u32) -> BackRef {
    BackRef {
        pool: PoolId(1),
        // Each is a file of its own, so that none is a stream.
        hash: index,
        index,
    }
}

/// Puts a page for entry `index`, and returns its handle.
fn put(store: &Store, page: &mut PageBytes, index: u32, seed: u32) -> Result<Handle> {
    fill(page, seed, 2500);
    store.create(Kind::Ephemeral, page, back(index))
}

fn free(store: &Store, index: u32, handle: Handle) {
    store.free_entry(Kind::Ephemeral, handle, back(index));
}

/// The system of the long test: a core over a store. Made once, and empty after each test.
static SYSTEM: SetOnce<Pin<KBox<Tmem<Store>>>> = SetOnce::new();

fn system() -> Result<&'static Tmem<Store>> {
    if SYSTEM.as_ref().is_none() {
        let tmem = KBox::try_pin_init(
            Tmem::new(Store::new(
                Policy::new(40 * 100, Percent::files(1)),
                |back, handle| {
                    SYSTEM
                        .as_ref()
                        .is_some_and(|tmem| tmem.forget(back, handle))
                },
                || usize::MAX,
                mode,
            )),
            GFP_KERNEL,
        )?;
        SYSTEM.populate(tmem);
    }
    SYSTEM.as_ref().map(|tmem| &**tmem).ok_or(EINVAL)
}

/// Numbers that look random, always the same.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

const POOLS: usize = 3;
const OBJECTS: usize = 2;
const INDICES: usize = 24;
const CELLS: usize = POOLS * OBJECTS * INDICES;

/// The core, and what it may hold: for each (pool, object, index), the seed of the last page that
/// was put and not flushed.
struct Model {
    tmem: &'static Tmem<Store>,
    client: ClientId,
    pools: [PoolId; POOLS],
    cells: [Option<u32>; CELLS],
    page: KBox<PageBytes>,
    expected: KBox<PageBytes>,
    hits: u32,
}

impl Model {
    fn new() -> Result<Self> {
        let tmem = system()?;
        let client = tmem.new_client(GFP_KERNEL)?;
        let mut pools = [PoolId(0); POOLS];
        for pool in &mut pools {
            *pool = tmem.new_pool(client, Kind::Ephemeral, None, GFP_KERNEL)?;
        }
        Ok(Self {
            tmem,
            client,
            pools,
            cells: [None; CELLS],
            page: blank_page()?,
            expected: blank_page()?,
            hits: 0,
        })
    }

    fn name(&self, cell: usize) -> (PoolId, Oid, u64) {
        let object = cell / INDICES % OBJECTS;
        (
            self.pools[cell / INDICES / OBJECTS],
            Oid([object as u64, 7, 0]),
            (cell % INDICES) as u64,
        )
    }

    /// Every third page is large enough to want a frame for itself.
    fn put(&mut self, cell: usize, seed: u32) {
        let (pool, oid, index) = self.name(cell);
        fill(&mut self.page, seed, 1000 + 800 * (seed as usize % 3));
        let result = self.tmem.put(pool, &oid, index, &self.page, GFP_KERNEL);
        self.cells[cell] = result.is_ok().then_some(seed);
    }

    /// A page may have been evicted, but what is found must be what was put last.
    fn get(&mut self, cell: usize) -> bool {
        let (pool, oid, index) = self.name(cell);
        let seed = self.cells[cell].take();
        match self.tmem.get(pool, &oid, index, &mut self.page) {
            Ok(()) => {
                let Some(seed) = seed else {
                    return false;
                };
                fill(&mut self.expected, seed, 1000 + 800 * (seed as usize % 3));
                self.hits += 1;
                *self.page == *self.expected
            }
            Err(error) => error == ENOENT,
        }
    }

    fn flush(&mut self, cell: usize) {
        let (pool, oid, index) = self.name(cell);
        self.tmem.flush_page(pool, &oid, index);
        self.cells[cell] = None;
    }

    fn flush_object(&mut self, cell: usize) {
        let (pool, oid, _) = self.name(cell);
        self.tmem.flush_object(pool, &oid);
        let first = cell / INDICES * INDICES;
        self.cells[first..first + INDICES].fill(None);
    }

    fn destroy(&mut self, which: usize) -> Result {
        self.tmem.destroy_pool(self.client, self.pools[which])?;
        let first = which * OBJECTS * INDICES;
        self.cells[first..first + OBJECTS * INDICES].fill(None);
        self.pools[which] = self
            .tmem
            .new_pool(self.client, Kind::Ephemeral, None, GFP_KERNEL)?;
        Ok(())
    }

    /// Whether what is counted fits together: each copy has a descriptor or an entry of its own.
    fn counts(&self) -> bool {
        let store = self.tmem.pam();
        let (dedup, zbud) = (store.dedup().stats(), store.zbud().stats());
        let pages = self.tmem.stats().pages.of(Kind::Ephemeral).now();
        let alone = pages - dedup.entries.now();
        zbud.curr_zpages == dedup.contents.now() + alone
            && zbud.stale == 0
            && dedup.stale.now() == 0
            && store.stats().corrupt.get() == 0
            && store.zbud().frames() <= store.limit()
    }

    fn clean(&self) -> bool {
        let store = self.tmem.pam();
        self.counts()
            && store.zbud().frames() == 0
            && store.dedup().stats().contents.now() == 0
            && store.dedup().stats().entries.now() == 0
            && self.tmem.stats().pages.of(Kind::Ephemeral).now() == 0
    }
}

#[kernel::macros::kunit_tests(zcache_store_shared)]
mod suite {
    use super::*;

    #[test]
    fn a_page_that_is_here_is_not_compressed_again() -> Result {
        let store = new_store(100)?;
        let mut page = blank_page()?;
        let mut out = blank_page()?;
        let mut handles = KVec::new();
        for index in 0..10 {
            handles.push(put(&store, &mut page, index, 1)?, GFP_KERNEL)?;
        }
        assert_eq!(store.zbud().stats().cumul_zpages, 1);
        assert_eq!(store.dedup().stats().found.now(), 9);
        for (index, handle) in (0..).zip(handles) {
            // All sharers have the very same handle.
            assert!(handle == put(&store, &mut page, 10, 1)?);
            free(&store, 10, handle);
            store.get_data(Kind::Ephemeral, handle, &mut out)?;
            assert!(*out == *page);
            free(&store, index, handle);
            if index < 9 {
                assert_eq!(store.zbud().stats().curr_zpages, 1);
            }
        }
        assert_eq!(store.zbud().frames(), 0);
        assert_eq!(store.dedup().stats().stale.now(), 0);
        Ok(())
    }

    /// Or a copy of a file would lose those of its pages that cost no frame.
    #[test]
    fn a_page_that_is_here_ends_a_streak() -> Result {
        let store = new_store(100)?;
        let mut page = blank_page()?;
        put(&store, &mut page, 1, 5)?;
        let (text, noise) = (page, noisy(1, PAGE_SIZE)?);
        let put = |page: &PageBytes, index| {
            let back = of_file(2, index);
            store.create(Kind::Ephemeral, page, back)
        };
        for index in 0..1000 {
            assert!(put(&noise, index).is_err());
        }
        // One in a few is tried.
        let found = (1000..2000).find(|index| put(&text, *index).is_ok());
        let next = found.ok_or(EINVAL)? + 1;
        assert_eq!(store.dedup.stats().found.now(), 1);
        assert_eq!(put(&noise, next).err(), Some(E2BIG));
        Ok(())
    }

    #[test]
    fn handles_and_owners_keep_names() -> Result {
        for raw in [1, 16, 0x7fff_ffff] {
            let name = Name::from_raw(raw);
            for bud in [0, 1, 0x8000_0001, u32::MAX] {
                match Form::of(Form::Bud(Bud::from_raw(bud), name).handle()) {
                    Form::Bud(got, got_name) => {
                        assert!(got.to_raw() == bud && got_name == name);
                    }
                    Form::Same(_) => return Err(EILSEQ),
                }
            }
        }
        for raw in [0, 1, 16, 0x7fff_ffff] {
            for pool in [1, 0x8000_0001, u32::MAX.into()] {
                for index in [0, 1, u32::MAX] {
                    let first = BackRef {
                        pool: PoolId(pool),
                        ..back(index)
                    };
                    let content = Name::from_raw(raw);
                    let owner = Owner::of(Owner { first, content }.back());
                    assert!(owner.first == first && owner.content == content);
                }
            }
        }
        Ok(())
    }

    /// A number that leaves no room for a name is refused, not cut short.
    #[test]
    fn pools_beyond_the_last_are_refused() -> Result {
        let store = new_store(100)?;
        let mut page = blank_page()?;
        fill(&mut page, 1, 2500);
        let of = |pool| BackRef {
            pool: PoolId(pool),
            ..back(0)
        };
        let refused = store.create(Kind::Ephemeral, &page, of(Owner::POOLS));
        assert!(refused.is_err_and(|error| error == ENOSPC));
        let last = of(Owner::POOLS - 1);
        let handle = store.create(Kind::Ephemeral, &page, last)?;
        store.free_entry(Kind::Ephemeral, handle, last);
        assert_eq!(store.zbud().frames(), 0);
        Ok(())
    }

    /// A get from a shared pool has a reference of its own, whatever becomes of the entries.
    #[test]
    fn references_outlive_entries() -> Result {
        let store = new_store(100)?;
        let mut page = blank_page()?;
        let handle = put(&store, &mut page, 0, 1)?;
        put(&store, &mut page, 1, 1)?;
        store.get_ref(Kind::Ephemeral, handle)?;
        free(&store, 0, handle);
        free(&store, 1, handle);
        assert_eq!(store.dedup().stats().contents.now(), 0);
        let mut out = blank_page()?;
        store.get_data(Kind::Ephemeral, handle, &mut out)?;
        assert!(*out == *page);
        // It is not found any more: the descriptor has gone.
        let other = put(&store, &mut page, 2, 1)?;
        assert!(other != handle);
        free(&store, 2, other);
        store.free(Kind::Ephemeral, handle);
        assert_eq!(store.zbud().frames(), 0);
        assert_eq!(store.zbud().stats().stale, 0);
        Ok(())
    }

    /// Seed, bug 7: pages without a descriptor could not be evicted once deduplication was on.
    #[test]
    fn pages_without_a_descriptor_are_evicted() -> Result {
        let store = new_store(64)?;
        let mut page = blank_page()?;
        for seed in 0..30 {
            match seed % 3 {
                0 => MODE.store(0, Relaxed),
                1 => MODE.store(1, Relaxed),
                _ => {
                    MODE.store(1, Relaxed);
                    store.dedup().fail_at(1);
                }
            }
            put(&store, &mut page, seed, seed)?;
            store.dedup().fail_at(0);
        }
        assert_eq!(store.zbud().stats().curr_zpages, 30);
        assert_eq!(store.shrink(usize::MAX), 30);
        assert_eq!(store.zbud().frames(), 0);
        assert_eq!(store.dedup().stats().contents.now(), 0);
        Ok(())
    }

    /// Seed, bug 8: dropping one of several references counted as memory won.
    #[test]
    fn eviction_counts_frames_not_references() -> Result {
        let store = new_store(64)?;
        let mut page = blank_page()?;
        for seed in 0..20 {
            for sharer in 0..5 {
                put(&store, &mut page, seed * 5 + sharer, seed)?;
            }
        }
        let stats = store.zbud().stats();
        assert_eq!(stats.curr_raw_pages - stats.unused_list_count, 20);
        assert_eq!(store.dedup().stats().entries.now(), 100);
        for left in (0..20).rev() {
            assert_eq!(store.shrink(1), 1);
            assert_eq!(store.zbud().frames(), left);
            assert_eq!(store.dedup().stats().entries.now(), left as u64 * 5);
        }
        assert_eq!(store.shrink(1), 0);
        Ok(())
    }

    /// Seed, bug 9: where all is shared, everything had its second chance before anything went.
    #[test]
    fn second_chances_end() -> Result {
        let store = new_store(64)?;
        let mut page = blank_page()?;
        for seed in 0..20 {
            put(&store, &mut page, 2 * seed, seed)?;
            put(&store, &mut page, 2 * seed + 1, seed)?;
        }
        assert_eq!(store.shrink(1), 1);
        assert_eq!(
            store.dedup().stats().spared.now(),
            u64::from(SPARED_IN_A_ROW)
        );
        // The oldest few went to the young end, the fifth was evicted.
        for (seed, here) in [(0, true), (3, true), (4, false), (5, true)] {
            let found = store.dedup().stats().found.now();
            let index = 100 + seed;
            let handle = put(&store, &mut page, index, seed)?;
            assert_eq!(store.dedup().stats().found.now(), found + u64::from(here));
            free(&store, index, handle);
        }
        assert!(store.shrink(usize::MAX) >= 19);
        assert_eq!(store.zbud().frames(), 0);
        assert_eq!(store.dedup().stats().entries.now(), 0);
        Ok(())
    }

    /// A page that is alone does not go for nothing, when its neighbour is spared.
    #[test]
    fn neighbours_of_spared_pages_stay() -> Result {
        let store = new_store(64)?;
        let mut page = blank_page()?;
        fill(&mut page, 1, 1000);
        for index in 0..2 {
            store.create(Kind::Ephemeral, &page, back(index))?;
        }
        fill(&mut page, 2, 1000);
        store.create(Kind::Ephemeral, &page, back(2))?;
        assert_eq!(store.zbud().stats().buddied_count, 1);
        put(&store, &mut page, 3, 3)?;
        assert_eq!(store.shrink(1), 1);
        // What went is the younger frame with one page that nobody shares.
        assert_eq!(store.zbud().stats().evicted_zpages, 1);
        assert_eq!(store.zbud().stats().buddied_count, 1);
        assert_eq!(store.shrink(1), 1);
        assert_eq!(store.zbud().stats().evicted_zpages, 3);
        Ok(())
    }

    /// Seed, bugs 5 and 12: a put that failed reported success.
    #[test]
    fn failed_puts_are_reported_and_leave_nothing() -> Result {
        let store = new_store(4)?;
        let mut page = blank_page()?;
        for _ in 0..3 {
            fill(&mut page, 1, usize::MAX);
            let result = store.create(Kind::Ephemeral, &page, back(0));
            assert_eq!(result.err(), Some(E2BIG));
        }
        let mut stored = 0;
        for seed in 0..40 {
            match put(&store, &mut page, seed, seed) {
                Ok(_) => stored += 1,
                Err(error) => assert!(matches!(error, ENOSPC | EAGAIN)),
            }
        }
        assert_eq!(
            stored,
            store.dedup().stats().contents.now() + store.zbud().stats().evicted_zpages
        );
        // Full or not, what is here is found.
        let here = store.dedup().stats().contents.now();
        assert!(here >= 3);
        let mut found = 0;
        for seed in 0..40 {
            if put(&store, &mut page, 100 + seed, seed).is_ok() {
                found += 1;
            }
        }
        // One of them may have been replaced before it was looked for.
        assert!(found + 1 >= here);
        assert!(store.dedup().stats().found.now() + 1 >= here);
        store.shrink(usize::MAX);
        assert_eq!(store.dedup().stats().contents.now(), 0);
        assert_eq!(store.dedup().stats().stale.now(), 0);
        Ok(())
    }

    /// A copy that cannot be read is equal to nothing.
    #[test]
    fn corrupt_copies_are_not_shared() -> Result {
        let store = new_store(64)?;
        let mut page = blank_page()?;
        fill(&mut page, 1, 2500);
        let hash = store.dedup.hash(Mode::Pool, &page, back(0)).ok_or(EINVAL)?;
        let prepared = store.dedup.prepare(hash, GFP_KERNEL).ok_or(ENOMEM)?;
        let name = prepared.name();
        let owner = Owner {
            first: back(0),
            content: Some(name),
        };
        let bud = store
            .zbud
            .reserve(GFP_KERNEL)
            .map_err(|_| ENOMEM)?
            .create(b"this is no stream", owner.back())
            .map_err(|_| EINVAL)?;
        prepared.publish(bud.to_raw());
        let handle = put(&store, &mut page, 1, 1)?;
        assert_eq!(store.dedup().stats().found.now(), 0);
        assert_eq!(store.dedup().stats().differed.now(), 1);
        let mut out = blank_page()?;
        store.get_data(Kind::Ephemeral, handle, &mut out)?;
        assert!(*out == *page);
        free(&store, 0, Form::Bud(bud, Some(name)).handle());
        free(&store, 1, handle);
        assert_eq!(store.zbud().frames(), 0);
        Ok(())
    }

    /// The core over the store, at random: puts of few contents, gets, flushes, eviction, pools
    /// that go, with each mode, with hashes that collide, with allocations that fail.
    #[test]
    fn no_order_of_events_gives_a_wrong_page() -> Result {
        let mut numbers = Numbers(1);
        for round in 0..6 {
            let mut model = Model::new()?;
            let store = model.tmem.pam();
            store.dedup().collide(round == 4);
            MODE.store(round % 3, Relaxed);
            for step in 0..2500 {
                let cell = numbers.below(CELLS as u64) as usize;
                match numbers.below(40) {
                    0..=19 => {
                        if round == 5 {
                            store.dedup().fail_at(numbers.below(4) as u32);
                        }
                        model.put(cell, numbers.below(60) as u32);
                        store.dedup().fail_at(0);
                    }
                    20..=29 => assert!(model.get(cell)),
                    30..=34 => model.flush(cell),
                    35 => model.flush_object(cell),
                    36 => {
                        store.shrink(1 + numbers.below(3) as usize);
                    }
                    _ if step % 8 == 0 => model.destroy(cell / INDICES / OBJECTS)?,
                    // Another mode in the middle of it.
                    _ if round > 2 => MODE.store(numbers.below(3) as u32, Relaxed),
                    _ => (),
                }
                assert!(model.counts());
            }
            assert!(model.hits > 50);
            for cell in 0..CELLS {
                assert!(model.get(cell));
            }
            store.dedup().collide(false);
            // All is out, or was evicted.
            assert!(model.clean());
            for cell in 0..CELLS {
                model.put(cell, cell as u32 % 7);
            }
            model.tmem.remove_client(model.client)?;
            assert!(model.clean());
        }
        Ok(())
    }
}
