// SPDX-License-Identifier: GPL-2.0

//! KUnit suite of the core, over a fake PAM behind the production trait.

use super::*;
use kernel::{
    new_mutex,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Mutex, //
    },
    task::might_sleep, //
};
use pin_init::stack_pin_init;

/// Pages that the fake PAM can hold.
const CAPACITY: usize = 256;

/// One stored page.
struct Slot {
    refs: u32,
    serial: u32,
    kind: Kind,
    back: BackRef,
    page: KBox<PageBytes>,
}

/// A PAM in a table, that tells when it is misused and fails on demand.
#[pin_data]
struct Fake {
    #[pin]
    slots: SpinLock<KVec<Slot>>,
    /// Stands for the lock of a codec.
    #[pin]
    codec: Mutex<u32>,
    /// Creations until the one that fails; zero for none.
    fail_create: Atomic<u32>,
    /// All data is corrupt.
    corrupt: Atomic<bool>,
    /// No more references can be had.
    saturated: Atomic<bool>,
    /// The caller is in atomic context by intention.
    atomic: Atomic<bool>,
    /// Hits that the core told of.
    hits: Atomic<u32>,
    /// Uses of freed pages, of wrong kinds and the like.
    misuse: Atomic<u32>,
}

impl Fake {
    fn new() -> Result<Arc<Self>> {
        let mut slots = KVec::with_capacity(CAPACITY, GFP_KERNEL)?;
        for _ in 0..CAPACITY {
            let slot = Slot {
                refs: 0,
                serial: 0,
                kind: Kind::Ephemeral,
                back: BackRef {
                    pool: PoolId(0),
                    hash: 0,
                    index: 0,
                },
                page: blank_page()?,
            };
            slots.push(slot, GFP_KERNEL)?;
        }
        Arc::pin_init(
            pin_init!(Self {
                slots <- new_spinlock!(slots, "fake_slots"),
                codec <- new_mutex!(0, "fake_codec"),
                fail_create: Atomic::new(0),
                corrupt: Atomic::new(false),
                saturated: Atomic::new(false),
                atomic: Atomic::new(false),
                hits: Atomic::new(0),
                misuse: Atomic::new(0),
            }),
            GFP_KERNEL,
        )
    }

    /// Runs `f` on the slot of a page that must exist.
    fn with<R>(&self, kind: Kind, handle: Handle, f: impl FnOnce(&mut Slot) -> R) -> Option<R> {
        let mut slots = self.slots.lock();
        let (serial, number) = ((handle.0 >> 32) as u32, handle.0 as u32 as usize);
        match slots.get_mut(number) {
            Some(slot) if slot.refs != 0 && slot.serial == serial && slot.kind == kind => {
                Some(f(slot))
            }
            _ => {
                self.misuse.fetch_add(1, Relaxed);
                None
            }
        }
    }

    /// Returns how many pages are held.
    fn live(&self) -> usize {
        self.slots
            .lock()
            .iter()
            .filter(|slot| slot.refs != 0)
            .count()
    }

    /// Returns the `n`th ephemeral page, what leads to it, and its seed, as an evictor sees it.
    fn victim(&self, n: usize) -> Option<(BackRef, Handle, u64)> {
        let slots = self.slots.lock();
        let (number, slot) = slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.refs != 0 && slot.kind == Kind::Ephemeral)
            .nth(n)?;
        Some((slot.back, handle(slot.serial, number), seed_of(&slot.page)))
    }

    /// Returns whether nothing is held and nothing was misused.
    fn clean(&self) -> bool {
        self.live() == 0 && self.misuse.load(Relaxed) == 0
    }
}

impl<P: Pam> Tmem<P> {
    /// Frees the nodes that wait for puts, so that the next one has to allocate.
    fn spend(&self) {
        self.spares.lock().clear();
    }
}

fn handle(serial: u32, number: usize) -> Handle {
    Handle(u64::from(serial) << 32 | number as u64)
}

/// The test keeps one reference to the fake, so that it can look behind the core.
struct Shared(Arc<Fake>);

impl Pam for Shared {
    fn create(&self, kind: Kind, page: &PageBytes, back: BackRef) -> Result<Handle> {
        // With DEBUG_ATOMIC_SLEEP, tells of a lock held by the core.
        *self.0.codec.lock() += 1;
        match self.0.fail_create.load(Relaxed) {
            0 => (),
            1 => {
                self.0.fail_create.store(0, Relaxed);
                return Err(E2BIG);
            }
            left => self.0.fail_create.store(left - 1, Relaxed),
        }
        let mut slots = self.0.slots.lock();
        let number = slots.iter().position(|slot| slot.refs == 0).ok_or(ENOSPC)?;
        let slot = &mut slots[number];
        let serial = slot.serial;
        slot.refs = 1;
        slot.kind = kind;
        slot.back = back;
        slot.page.copy_from_slice(page);
        Ok(handle(serial, number))
    }

    fn get_ref(&self, kind: Kind, handle: Handle) -> Result {
        if self.0.saturated.load(Relaxed) {
            return Err(EOVERFLOW);
        }
        self.0
            .with(kind, handle, |slot| slot.refs += 1)
            .ok_or(EINVAL)
    }

    fn get_data(&self, kind: Kind, handle: Handle, page: &mut PageBytes) -> Result {
        *self.0.codec.lock() += 1;
        if self.0.corrupt.load(Relaxed) {
            page.fill(0xcc);
            return Err(EIO);
        }
        self.0
            .with(kind, handle, |slot| page.copy_from_slice(&*slot.page))
            .ok_or(EINVAL)
    }

    fn free_entry(&self, kind: Kind, handle: Handle, back: BackRef) {
        // Whoever frees the reference of an entry must say which entry it was.
        if self.0.with(kind, handle, |slot| slot.back == back) != Some(true) {
            self.0.misuse.fetch_add(1, Relaxed);
        }
        self.free(kind, handle);
    }

    fn hit(&self, _kind: Kind, _back: BackRef) {
        self.0.hits.fetch_add(1, Relaxed);
    }

    fn free(&self, kind: Kind, handle: Handle) {
        if !self.0.atomic.load(Relaxed) {
            might_sleep();
        }
        self.0.with(kind, handle, |slot| {
            slot.refs -= 1;
            if slot.refs == 0 {
                slot.serial = slot.serial.wrapping_add(1);
                slot.page.fill(0xfe);
            }
        });
    }
}

fn blank_page() -> Result<KBox<PageBytes>> {
    KBox::init(pin_init::init_zeroed(), GFP_KERNEL)
}

/// The `n`th word of the page that has this seed.
fn word(seed: u64, n: usize) -> u64 {
    match n {
        0 => seed,
        n => mix(seed ^ mix(n as u64)),
    }
}

fn fill(page: &mut PageBytes, seed: u64) {
    for (n, bytes) in page.chunks_exact_mut(8).enumerate() {
        bytes.copy_from_slice(&word(seed, n).to_le_bytes());
    }
}

fn seed_of(page: &PageBytes) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&page[..8]);
    u64::from_le_bytes(bytes)
}

/// Returns whether every byte of the page is what `fill` makes of that seed.
fn is_filled(page: &PageBytes, seed: u64) -> bool {
    page.chunks_exact(8)
        .enumerate()
        .all(|(n, bytes)| bytes == word(seed, n).to_le_bytes())
}

/// A core with one client over a fake PAM, and a page to work with.
struct Rig {
    fake: Arc<Fake>,
    tmem: Pin<KBox<Tmem<Shared>>>,
    client: ClientId,
    page: KBox<PageBytes>,
}

impl Rig {
    fn new() -> Result<Self> {
        let fake = Fake::new()?;
        let tmem = KBox::pin_init(Tmem::new(Ok(Shared(fake.clone()))), GFP_KERNEL)?;
        let client = tmem.new_client(GFP_KERNEL)?;
        Ok(Self {
            fake,
            tmem,
            client,
            page: blank_page()?,
        })
    }

    fn pool(&self, kind: Kind) -> Result<PoolId> {
        self.tmem.new_pool(self.client, kind, None, GFP_KERNEL)
    }

    fn put(&mut self, pool: PoolId, oid: &Oid, index: u64, seed: u64) -> Result {
        fill(&mut self.page, seed);
        self.tmem.put(pool, oid, index, &self.page, GFP_KERNEL)
    }

    /// Gets a page and returns its seed, or `EILSEQ` if a byte of it is wrong.
    fn get(&mut self, pool: PoolId, oid: &Oid, index: u64) -> Result<u64> {
        self.page.fill(0xaa);
        if let Err(e) = self.tmem.get(pool, oid, index, &mut self.page) {
            // A miss must not touch the page: V2 could report one as a hit.
            let untouched = self.page.iter().all(|byte| *byte == 0xaa);
            return Err(if e == ENOENT && !untouched { EILSEQ } else { e });
        }
        let seed = seed_of(&self.page);
        is_filled(&self.page, seed).then_some(seed).ok_or(EILSEQ)
    }

    fn misses(&mut self, pool: PoolId, oid: &Oid, index: u64) -> bool {
        self.get(pool, oid, index) == Err(ENOENT)
    }

    fn pages(&self) -> u64 {
        let pages = &self.tmem.stats.pages;
        pages.of(Kind::Ephemeral).now() + pages.of(Kind::Persistent).now()
    }

    /// Returns whether the core counts no pages, nodes and objects, and the PAM holds none.
    fn clean(&self) -> bool {
        let stats = &self.tmem.stats;
        self.pages() == 0
            && stats.chunks.now() == 0
            && stats.objects.now() == 0
            && self.fake.clean()
    }
}

/// Fails a test from a function, where KUnit's assertions are not at hand.
fn expect(truth: bool, what: &str) -> Result {
    if !truth {
        pr_err!("    expected: {what}\n");
        return Err(EINVAL);
    }
    Ok(())
}

/// What a pool is expected to hold: a seed for each (object, index) that the test uses.
struct Model<'a> {
    pool: PoolId,
    shared: bool,
    oids: &'a [Oid],
    indices: &'a [u64],
    cells: KVec<Option<u64>>,
}

impl<'a> Model<'a> {
    fn new(pool: PoolId, shared: bool, oids: &'a [Oid], indices: &'a [u64]) -> Result<Self> {
        Ok(Self {
            pool,
            shared,
            oids,
            indices,
            cells: KVec::from_elem(None, oids.len() * indices.len(), GFP_KERNEL)?,
        })
    }

    fn name(&self, cell: usize) -> (&'a Oid, u64) {
        let width = self.indices.len();
        (&self.oids[cell / width], self.indices[cell % width])
    }

    fn put(&mut self, rig: &mut Rig, cell: usize, seed: u64) -> Result {
        let (oid, index) = self.name(cell);
        self.cells[cell] = Some(seed);
        expect(rig.put(self.pool, oid, index, seed).is_ok(), "put stores")
    }

    /// A put that fails: in the PAM, or else for want of a node, if one is needed.
    fn put_badly(&mut self, rig: &mut Rig, cell: usize, seed: u64, in_pam: bool) -> Result {
        let (oid, index) = self.name(cell);
        rig.tmem.spend();
        if in_pam {
            rig.fake.fail_create.store(1, Relaxed);
        } else {
            rig.tmem.faults.left.add(1);
        }
        let result = rig.put(self.pool, oid, index, seed);
        let node_needed = rig.tmem.faults.left.get() == 0;
        rig.tmem.faults.left.sub(rig.tmem.faults.left.get());
        self.cells[cell] = None;
        if in_pam {
            expect(result == Err(E2BIG), "failure of the PAM is reported")
        } else if node_needed {
            expect(result == Err(ENOMEM), "want of memory is reported")
        } else {
            self.cells[cell] = Some(seed);
            expect(result.is_ok(), "no node is needed in a chunk that exists")
        }
    }

    fn get(&mut self, rig: &mut Rig, cell: usize) -> Result {
        let (oid, index) = self.name(cell);
        let expected = self.cells[cell].ok_or(ENOENT);
        if !self.shared {
            self.cells[cell] = None;
        }
        expect(rig.get(self.pool, oid, index) == expected, "get like model")
    }

    fn flush_page(&mut self, rig: &mut Rig, cell: usize) -> Result {
        let (oid, index) = self.name(cell);
        let expected = self.cells[cell].take().is_some();
        let found = rig.tmem.flush_page(self.pool, oid, index);
        expect(found == expected, "flush_page like model")
    }

    /// Flushes a range; with `all`, the object.
    fn flush(&mut self, rig: &mut Rig, object: usize, range: RangeInclusive<u64>) -> Result {
        let mut expected = 0;
        for (n, index) in self.indices.iter().enumerate() {
            let cell = &mut self.cells[object * self.indices.len() + n];
            if range.contains(index) && cell.take().is_some() {
                expected += 1;
            }
        }
        let oid = &self.oids[object];
        let has = rig.tmem.has_pages(self.pool, oid, range.clone());
        expect(has == (expected != 0), "has_pages like model")?;
        let found = if range == (0..=u64::MAX) {
            rig.tmem.flush_object(self.pool, oid)
        } else {
            rig.tmem.flush_range(self.pool, oid, range)
        };
        expect(found == expected, "flush of range or object like model")
    }

    /// Evicts the `n`th page of the PAM if it is of this pool.
    fn evict(&mut self, rig: &mut Rig, n: usize) -> Result {
        let Some((back, handle, seed)) = rig.fake.victim(n) else {
            return Ok(());
        };
        let Some(cell) = self.cells.iter_mut().find(|cell| **cell == Some(seed)) else {
            return Ok(());
        };
        *cell = None;
        expect(
            rig.tmem.forget(back, handle),
            "forget finds what is indexed",
        )?;
        rig.tmem.pam().free(Kind::Ephemeral, handle);
        Ok(())
    }

    fn pages(&self) -> u64 {
        self.cells.iter().flatten().count() as u64
    }

    fn objects(&self) -> u64 {
        let used = |cells: &&[Option<u64>]| cells.iter().any(Option::is_some);
        self.cells.chunks(self.indices.len()).filter(used).count() as u64
    }
}

/// Two objects, and two indices on both sides of a chunk border.
const FEW_OIDS: [Oid; 2] = [Oid([7, 0, 0]), Oid([7, 1, 0])];
const FEW_INDICES: [u64; 2] = [15, 16];

/// Runs all sequences of `length` operations on a small domain, each from an empty pool.
fn every_sequence(kind: Kind, shared: Option<Uuid>, length: u32) -> Result {
    const OPS: usize = 22;
    let mut rig = Rig::new()?;
    let pool = rig.tmem.new_pool(rig.client, kind, shared, GFP_KERNEL)?;
    let mut model = Model::new(pool, shared.is_some(), &FEW_OIDS, &FEW_INDICES)?;
    let mut seed = 0;
    for sequence in 0..OPS.pow(length) {
        let mut rest = sequence;
        for _ in 0..length {
            let op = rest % OPS;
            rest /= OPS;
            seed += 1;
            let done = match op {
                0..=3 => model.put(&mut rig, op, seed),
                4..=7 => model.get(&mut rig, op - 4),
                8..=11 => model.flush_page(&mut rig, op - 8),
                12..=15 => model.put_badly(&mut rig, op - 12, seed, op % 2 == 0),
                16..=17 => model.flush(&mut rig, op - 16, 0..=u64::MAX),
                18..=19 => model.flush(&mut rig, op - 18, 16..=u64::MAX),
                _ => model.flush(&mut rig, op - 20, 0..=15),
            };
            done.inspect_err(|_| pr_err!("    sequence {sequence}, operation {op}\n"))?;
            expect(rig.pages() == model.pages(), "pages like model")?;
            let objects = rig.tmem.stats.objects.now();
            expect(objects == model.objects(), "objects like model")?;
        }
        for cell in 0..4 {
            model.get(&mut rig, cell)?;
        }
        for object in 0..2 {
            model.flush(&mut rig, object, 0..=u64::MAX)?;
        }
        expect(
            rig.pages() == 0 && rig.tmem.stats.chunks.now() == 0,
            "empty",
        )?;
    }
    expect(rig.clean(), "nothing left")?;
    rig.tmem.destroy_pool(rig.client, pool)
}

/// Returns two objects with one hash.
fn colliding() -> (Oid, Oid) {
    // The last word is mixed in last, so it can undo the difference that the others made.
    let before_last = |first, second| mix(mix(first) ^ second);
    let fix = before_last(1, 2) ^ before_last(3, 4);
    (Oid([1, 2, 9]), Oid([3, 4, 9 ^ fix]))
}

const UUID: Option<Uuid> = Some(Uuid([3; 16]));

#[kunit_tests(zcache_tmem)]
mod suite {
    use super::*;
    use Kind::*;

    #[test]
    fn every_sequence_of_four_private() -> Result {
        every_sequence(Ephemeral, None, 4)
    }

    #[test]
    fn every_sequence_of_three_persistent() -> Result {
        every_sequence(Persistent, None, 3)
    }

    #[test]
    fn every_sequence_of_three_shared() -> Result {
        every_sequence(Ephemeral, UUID, 3)?;
        every_sequence(Persistent, UUID, 3)
    }

    /// Three pools of two clients, 300000 operations by a fixed seed.
    #[test]
    fn long_random_run() -> Result {
        let (one, two) = colliding();
        let oids = [one, two, Oid([0; 3]), Oid([5, 0, 0]), Oid([u64::MAX; 3])];
        let top = u64::from(u32::MAX);
        let indices = [0, 1, 14, 15, 16, 17, 31, 32, 1000, top - 16, top - 1, top];
        let mut rig = Rig::new()?;
        let other = rig.tmem.new_client(GFP_KERNEL)?;
        let private = rig.pool(Ephemeral)?;
        let swap = rig.tmem.new_pool(other, Persistent, None, GFP_KERNEL)?;
        let shared = rig.tmem.new_pool(other, Ephemeral, UUID, GFP_KERNEL)?;
        let mut models = [
            Model::new(private, false, &oids, &indices)?,
            Model::new(swap, false, &oids, &indices)?,
            Model::new(shared, true, &oids, &indices)?,
        ];
        let mut state = 1;
        for seed in 0..300_000 {
            state = mix(state + seed);
            let mut pick = |choices: usize| {
                state = mix(state ^ 0x5bd1);
                state as usize % choices
            };
            let model = &mut models[pick(3)];
            let cell = pick(oids.len() * indices.len());
            let object = pick(oids.len());
            let first = indices[pick(indices.len())];
            let last = indices[pick(indices.len())];
            match pick(40) {
                0..=15 => model.put(&mut rig, cell, seed)?,
                16..=27 => model.get(&mut rig, cell)?,
                28..=31 => model.flush_page(&mut rig, cell)?,
                32..=35 => model.evict(&mut rig, cell)?,
                36 => model.flush(&mut rig, object, first..=last)?,
                37 => model.flush(&mut rig, object, 0..=u64::MAX)?,
                op => model.put_badly(&mut rig, cell, seed, op == 38)?,
            }
            let stats = &rig.tmem.stats;
            let pages: u64 = models.iter().map(Model::pages).sum();
            let objects: u64 = models.iter().map(Model::objects).sum();
            assert_eq!(rig.pages(), pages);
            assert_eq!(stats.objects.now(), objects);
            assert!(stats.chunks.now() >= objects && stats.chunks.now() <= pages);
        }
        assert_eq!(rig.fake.live() as u64, rig.pages());
        assert!(rig.pages() > 20);
        rig.tmem.remove_client(rig.client)?;
        rig.tmem.remove_client(other)?;
        assert!(rig.clean());
        assert_eq!(rig.tmem.stats.pools.now(), 0);
        Ok(())
    }

    #[test]
    fn put_over_a_page_replaces_it() -> Result {
        let mut rig = Rig::new()?;
        let pool = rig.pool(Persistent)?;
        let oid = Oid([1, 2, 3]);
        rig.put(pool, &oid, 5, 10)?;
        // The node that the older page leaves serves the newer one.
        rig.tmem.faults.left.add(1);
        rig.put(pool, &oid, 5, 11)?;
        assert_eq!(rig.tmem.faults.left.get(), 1);
        assert_eq!(rig.fake.live(), 1);
        assert_eq!(rig.get(pool, &oid, 5), Ok(11));
        assert!(rig.misses(pool, &oid, 5));
        Ok(())
    }

    /// Rule R, and the failed puts that Xen reported as done.
    #[test]
    fn failed_put_over_a_page_leaves_nothing_and_says_so() -> Result {
        let mut rig = Rig::new()?;
        for kind in [Ephemeral, Persistent] {
            let pool = rig.pool(kind)?;
            let oid = Oid([1, 2, 3]);
            rig.put(pool, &oid, 5, 10)?;
            rig.fake.fail_create.store(1, Relaxed);
            assert_eq!(rig.put(pool, &oid, 5, 11), Err(E2BIG));
            assert!(rig.misses(pool, &oid, 5));

            rig.tmem.spend();
            rig.tmem.faults.left.add(1);
            assert_eq!(rig.put(pool, &oid, 5, 12), Err(ENOMEM));
            assert!(rig.misses(pool, &oid, 5));
            assert!(rig.clean());
            assert_eq!(rig.tmem.stats.failed_puts.of(kind).get(), 2);
            assert_eq!(rig.tmem.stats.puts.of(kind).get(), 3);
        }
        Ok(())
    }

    /// V2 put a swap area into 16 objects, and so into 16 of 256 buckets.
    #[test]
    fn runs_of_a_swap_area_are_spread_over_all_buckets() {
        for area in 0..3 {
            let mut used = [0u32; 256];
            // 128 GiB of swap.
            for run in 0..2048 {
                used[Oid([area, run, 0]).hash() as usize % used.len()] += 1;
            }
            let most = used.iter().max().map_or(0, |most| *most);
            let empty = used.iter().filter(|count| **count == 0).count();
            assert!(empty <= 4 && most < 3 * 2048 / 256);
        }
    }

    /// Two puts of one page at once: the later one stays, and the other is freed.
    #[test]
    fn racing_puts_leave_the_later_page() -> Result {
        let mut rig = Rig::new()?;
        let id = rig.pool(Ephemeral)?;
        let pool = rig.tmem.pool(id).ok_or(EINVAL)?;
        let oid = Oid([1, 2, 3]);
        let place = Place::new(id, &oid, 5);
        let back = BackRef {
            pool: id,
            hash: oid.hash(),
            index: 5,
        };
        for seed in 1..=2 {
            fill(&mut rig.page, seed);
            let handle = rig.tmem.pam.create(Ephemeral, &rig.page, back)?;
            rig.tmem
                .index(&pool, &place, handle, true, None, GFP_KERNEL)?;
        }
        assert_eq!(rig.fake.live(), 1);
        assert_eq!(rig.pages(), 1);
        assert_eq!(rig.get(id, &oid, 5), Ok(2));
        assert!(rig.clean());
        Ok(())
    }

    /// A get that missed keeps missing until the next put.
    #[test]
    fn miss_stays_a_miss() -> Result {
        let mut rig = Rig::new()?;
        let pool = rig.pool(Ephemeral)?;
        let oid = Oid([0; 3]);
        assert!(rig.misses(pool, &oid, 0));
        rig.put(pool, &oid, 0, 1)?;
        assert_eq!(rig.get(pool, &oid, 0), Ok(1));
        for _ in 0..3 {
            assert!(rig.misses(pool, &oid, 0));
        }
        assert_eq!(rig.tmem.stats.gets.of(Ephemeral).get(), 5);
        assert_eq!(rig.tmem.stats.hits.of(Ephemeral).get(), 1);
        assert_eq!(rig.tmem.stats.gets.of(Persistent).get(), 0);
        Ok(())
    }

    /// Pools in the order of their numbers, with what was done to each.
    #[test]
    fn pools_can_be_listed() -> Result {
        let mut rig = Rig::new()?;
        assert!(rig.tmem.pool_after(PoolId(0)).is_none());
        let (first, swap) = (rig.pool(Ephemeral)?, rig.pool(Persistent)?);
        rig.tmem.label_pool(swap, Label::new(b"swap", b"-"));
        rig.tmem.label_pool(PoolId(99), Label::new(b"no", b"pool"));
        let oid = Oid([1, 0, 0]);
        for index in 0..3 {
            rig.put(first, &oid, index, 5)?;
        }
        rig.get(first, &oid, 0)?;
        assert!(rig.misses(first, &oid, 0));
        rig.put(swap, &oid, 0, 6)?;
        let view = rig.tmem.pool_after(PoolId(0)).ok_or(EINVAL)?;
        assert!(view.id == first && view.kind == Ephemeral);
        let counts = (view.pages, view.puts, view.gets, view.hits);
        assert_eq!(counts, (2, 3, 2, 1));
        let view = rig.tmem.pool_after(first).ok_or(EINVAL)?;
        assert!(view.id == swap && view.kind == Persistent);
        assert_eq!((view.pages, view.puts, view.hits), (1, 1, 0));
        assert!(rig.tmem.pool_after(swap).is_none());
        assert!(rig.tmem.pool_after(PoolId(u64::MAX)).is_none());
        rig.tmem.destroy_pool(rig.client, first)?;
        assert!(rig
            .tmem
            .pool_after(PoolId(0))
            .is_some_and(|view| view.id == swap));
        Ok(())
    }

    /// The PAM hears of each get that found its page, and of no other.
    #[test]
    fn hits_are_told() -> Result {
        let mut rig = Rig::new()?;
        let oid = Oid([1, 2, 3]);
        let hits = |rig: &Rig| rig.fake.hits.load(Relaxed);
        let pool = rig.pool(Kind::Ephemeral)?;
        for index in 0..3 {
            rig.put(pool, &oid, index, index)?;
        }
        assert!(rig.tmem.flush_page(pool, &oid, 2));
        assert_eq!((hits(&rig), rig.get(pool, &oid, 0)?), (0, 0));
        assert_eq!(hits(&rig), 1);
        assert!(rig.misses(pool, &oid, 0) && rig.misses(pool, &oid, 2));
        rig.fake.corrupt.store(true, Relaxed);
        assert_eq!(rig.get(pool, &oid, 1), Err(EIO));
        assert_eq!(hits(&rig), 1);
        Ok(())
    }

    #[test]
    fn get_from_a_shared_pool_leaves_the_page() -> Result {
        let mut rig = Rig::new()?;
        let other = rig.tmem.new_client(GFP_KERNEL)?;
        let pool = rig.tmem.new_pool(rig.client, Ephemeral, UUID, GFP_KERNEL)?;
        let same = rig.tmem.new_pool(other, Ephemeral, UUID, GFP_KERNEL)?;
        assert!(pool == same);
        let oid = Oid([1, 0, 0]);
        rig.put(pool, &oid, 1, 77)?;
        for _ in 0..3 {
            assert_eq!(rig.get(same, &oid, 1), Ok(77));
        }
        assert_eq!(rig.fake.live(), 1);
        rig.fake.saturated.store(true, Relaxed);
        assert!(rig.misses(same, &oid, 1));
        rig.fake.saturated.store(false, Relaxed);
        assert_eq!(rig.get(same, &oid, 1), Ok(77));
        assert!(rig.tmem.flush_page(same, &oid, 1));
        assert!(rig.misses(pool, &oid, 1));
        assert!(rig.clean());
        Ok(())
    }

    #[test]
    fn shared_pool_lives_until_its_last_client_leaves() -> Result {
        let mut rig = Rig::new()?;
        let (a, b) = (rig.client, rig.tmem.new_client(GFP_KERNEL)?);
        let new = |client, kind, uuid| rig.tmem.new_pool(client, kind, uuid, GFP_KERNEL);
        let pool = new(a, Ephemeral, UUID)?;
        // Joining twice counts once; another kind, name or none at all is another pool.
        assert!(new(a, Ephemeral, UUID)? == pool);
        assert!(new(b, Ephemeral, UUID)? == pool);
        assert!(new(b, Persistent, UUID)? != pool);
        assert!(new(b, Ephemeral, Some(Uuid([4; 16])))? != pool);
        assert!(new(a, Ephemeral, None)? != new(a, Ephemeral, None)?);
        assert_eq!(rig.tmem.stats.pools.now(), 5);

        let oid = Oid([1, 0, 0]);
        rig.put(pool, &oid, 1, 5)?;
        rig.tmem.destroy_pool(a, pool)?;
        assert_eq!(rig.tmem.destroy_pool(a, pool), Err(ENOENT));
        assert_eq!(rig.get(pool, &oid, 1), Ok(5));
        rig.tmem.remove_client(b)?;
        assert!(rig.misses(pool, &oid, 1));
        assert!(rig.clean());
        assert_eq!(rig.tmem.stats.pools.now(), 2);
        Ok(())
    }

    /// V2 took the first free slot of an array, so a late user could hit a stranger's pool.
    #[test]
    fn pool_ids_are_never_reused() -> Result {
        let rig = Rig::new()?;
        let mut last = PoolId(0);
        for _ in 0..20 {
            let pool = rig.pool(Ephemeral)?;
            assert!(pool > last);
            rig.tmem.destroy_pool(rig.client, pool)?;
            last = pool;
        }
        let client = rig.tmem.new_client(GFP_KERNEL)?;
        rig.tmem.remove_client(client)?;
        assert!(rig.tmem.new_client(GFP_KERNEL)? > client);
        Ok(())
    }

    /// 3.1 had 16 pools for a client, and a 17th filesystem went without.
    #[test]
    fn pools_of_a_client_are_not_limited() -> Result {
        let mut rig = Rig::new()?;
        let mut last = PoolId(0);
        for n in 0..40 {
            last = rig.pool(Ephemeral)?;
            rig.put(last, &Oid([1, 0, 0]), 0, n)?;
        }
        assert_eq!(rig.get(last, &Oid([1, 0, 0]), 0), Ok(39));
        assert_eq!(rig.fake.live(), 39);
        rig.tmem.remove_client(rig.client)?;
        assert!(rig.clean());
        Ok(())
    }

    #[test]
    fn clients_and_pools_that_do_not_exist() -> Result {
        let mut rig = Rig::new()?;
        let (stranger, nowhere) = (ClientId(99), PoolId(99));
        let pool = rig.pool(Ephemeral)?;
        let oid = Oid([1, 0, 0]);
        assert!(rig.tmem.new_pool(stranger, Ephemeral, None, GFP_KERNEL) == Err(ENOENT));
        assert_eq!(rig.tmem.remove_client(stranger), Err(ENOENT));
        assert_eq!(rig.tmem.destroy_pool(stranger, pool), Err(ENOENT));
        assert_eq!(rig.tmem.destroy_pool(rig.client, nowhere), Err(ENOENT));
        assert_eq!(rig.put(nowhere, &oid, 0, 1), Err(ENOENT));
        assert!(rig.misses(nowhere, &oid, 0));
        assert!(!rig.tmem.flush_page(nowhere, &oid, 0));
        assert_eq!(rig.tmem.flush_object(nowhere, &oid), 0);
        assert!(!rig.tmem.has_pages(nowhere, &oid, 0..=u64::MAX));
        assert!(rig.clean());
        Ok(())
    }

    #[test]
    fn ranges_end_where_they_say() -> Result {
        const TOP: u64 = u32::MAX as u64;
        let indices = [0, 14, 15, 16, 17, 31, 32, 47, 48, TOP - 16, TOP - 15, TOP];
        let ends = [0, 1, 15, 16, 17, 31, 32, TOP - 1, TOP, TOP + 1, u64::MAX];
        let oids = [Oid([1, 0, 0])];
        let mut rig = Rig::new()?;
        let pool = rig.pool(Ephemeral)?;
        let mut model = Model::new(pool, false, &oids, &indices)?;
        for first in ends {
            for last in ends {
                for cell in 0..indices.len() {
                    model.put(&mut rig, cell, first ^ cell as u64)?;
                }
                model.flush(&mut rig, 0, first..=last)?;
                assert_eq!(rig.pages(), model.pages());
            }
        }
        assert_eq!(rig.tmem.stats.flobj_total.get(), 1);
        assert_eq!(rig.tmem.stats.flobj_pages.get(), indices.len() as u64);
        assert_eq!(rig.tmem.stats.flobj_found.get(), 1);
        Ok(())
    }

    /// A file beyond 16 TiB: refused and missed, and never cut to 32 bits.
    #[test]
    fn index_beyond_32_bits() -> Result {
        let mut rig = Rig::new()?;
        let pool = rig.pool(Persistent)?;
        let oid = Oid([1, 0, 0]);
        let far = (1 << 32) + 3;
        rig.put(pool, &oid, 3, 1)?;
        assert_eq!(rig.put(pool, &oid, far, 2), Err(EFBIG));
        assert!(rig.misses(pool, &oid, far));
        assert!(!rig.tmem.flush_page(pool, &oid, far));
        assert_eq!(rig.tmem.flush_range(pool, &oid, far..=u64::MAX), 0);
        assert!(!rig.tmem.has_pages(pool, &oid, far..=u64::MAX));
        assert_eq!(rig.get(pool, &oid, 3), Ok(1));
        Ok(())
    }

    #[test]
    fn destroyed_pool_leaves_nothing() -> Result {
        let mut rig = Rig::new()?;
        for kind in [Ephemeral, Persistent] {
            let pool = rig.pool(kind)?;
            for n in 0..200 {
                rig.put(pool, &Oid([n % 7, 0, 0]), n, n)?;
            }
            assert_eq!(rig.fake.live(), 200);
            assert_eq!(rig.tmem.stats.objects.now(), 7);
            rig.tmem.destroy_pool(rig.client, pool)?;
            assert!(rig.clean());
            rig.tmem.spend();
            assert_eq!(rig.tmem.metadata_bytes(), 0);
            assert_eq!(rig.tmem.stats.pages.of(kind).max(), 200);
        }
        assert_eq!(rig.tmem.stats.objects.max(), 7);
        Ok(())
    }

    #[test]
    fn emptied_pools_hold_nothing_and_can_be_used_again() -> Result {
        let mut rig = Rig::new()?;
        let pools = [
            rig.pool(Ephemeral)?,
            rig.pool(Persistent)?,
            rig.pool(Ephemeral)?,
        ];
        rig.tmem.empty_pools(Ephemeral);
        for round in 0..3 {
            for pool in pools {
                for n in 0..40 {
                    rig.put(pool, &Oid([n % 7, 0, 0]), n, n + round)?;
                }
            }
            let (back, handle, _) = rig.fake.victim(0).ok_or(EINVAL)?;
            rig.tmem.empty_pools(Ephemeral);
            // Who was about to evict a page finds that it is gone.
            assert!(!rig.tmem.forget(back, handle));
            let [first, swap, third] = pools;
            for n in 0..40 {
                let oid = Oid([n % 7, 0, 0]);
                assert!(!rig.tmem.has_pages(first, &oid, 0..=u64::MAX));
                assert!(!rig.tmem.has_pages(third, &oid, 0..=u64::MAX));
                assert!(rig.tmem.has_pages(swap, &oid, n..=n));
            }
            assert_eq!(rig.fake.live(), 40);
            assert_eq!(rig.tmem.stats.pools.now(), 3);
            assert_eq!(rig.tmem.stats.objects.now(), 7);
            assert_eq!(rig.tmem.stats.pages.of(Ephemeral).now(), 0);
        }
        rig.tmem.empty_pools(Persistent);
        assert!(rig.clean());
        assert_eq!(rig.tmem.stats.objects.now(), 0);
        assert_eq!(rig.tmem.stats.chunks.now(), 0);
        Ok(())
    }

    /// Users that found the pool before it was destroyed, and come to its buckets after.
    #[test]
    fn late_users_of_a_destroyed_pool() -> Result {
        let mut rig = Rig::new()?;
        let id = rig.pool(Ephemeral)?;
        let oid = Oid([1, 0, 0]);
        rig.put(id, &oid, 0, 1)?;
        let (back, handle, _) = rig.fake.victim(0).ok_or(EINVAL)?;
        let pool = rig.tmem.pool(id).ok_or(EINVAL)?;
        rig.tmem.destroy_pool(rig.client, id)?;

        let create = |back| rig.tmem.pam.create(Ephemeral, &rig.page, back);
        let late = rig.tmem.put_into(&pool, id, &oid, 0, create, GFP_KERNEL);
        assert_eq!(late, Err(ENOENT));
        assert!(rig.tmem.take(&pool, &Place::new(id, &oid, 0)).is_none());
        // V2's evictor skipped the flush when the pool was gone, and reused the frame.
        assert!(!rig.tmem.forget(back, handle));
        assert!(rig.clean());
        Ok(())
    }

    #[test]
    fn dropping_the_core_frees_all_pages() -> Result {
        let mut rig = Rig::new()?;
        let pool = rig.pool(Persistent)?;
        let shared = rig.tmem.new_pool(rig.client, Ephemeral, UUID, GFP_KERNEL)?;
        rig.put(pool, &Oid([1, 0, 0]), 0, 1)?;
        rig.put(shared, &Oid([1, 0, 0]), 0, 1)?;
        let fake = rig.fake.clone();
        assert_eq!(fake.live(), 2);
        drop(rig);
        assert!(fake.clean());
        Ok(())
    }

    /// Nodes that were allocated ahead, and those that gets leave, serve puts without memory.
    #[test]
    fn nodes_ahead_and_nodes_kept() -> Result {
        let mut rig = Rig::new()?;
        let pool = rig.pool(Ephemeral)?;
        let oid = Oid([1, 2, 3]);
        let spares = |rig: &Rig| rig.tmem.spares.lock().len();
        let bare = rig.tmem.metadata_bytes();
        rig.tmem.faults.left.add(3);
        rig.tmem.top_up(GFP_KERNEL);
        assert_eq!(spares(&rig), 2);
        assert_eq!(rig.tmem.metadata_bytes() - bare, 2 * 192);

        for (n, left) in [(0, 1), (1, 0)] {
            rig.tmem.faults.left.add(1);
            rig.put(pool, &oid, n * 16, 7)?;
            assert_eq!(spares(&rig), left);
        }
        rig.tmem.faults.left.add(1);
        assert_eq!(rig.put(pool, &oid, 32, 7), Err(ENOMEM));

        // The last page of a node leaves it behind; one with a page left does not.
        rig.put(pool, &oid, 1, 8)?;
        assert_eq!(rig.get(pool, &oid, 0), Ok(7));
        assert_eq!(spares(&rig), 0);
        assert_eq!(rig.get(pool, &oid, 1), Ok(8));
        assert_eq!(spares(&rig), 1);

        // There is an end to both.
        rig.tmem.top_up(GFP_KERNEL);
        assert_eq!(spares(&rig), SPARES);
        assert_eq!(rig.get(pool, &oid, 16), Ok(7));
        assert_eq!(spares(&rig), SPARES);
        assert!(rig.clean());
        Ok(())
    }

    /// Each allocation fails in turn; the last turn has none left to fail.
    #[test]
    fn every_allocation_may_fail() -> Result {
        let mut rig = Rig::new()?;
        let oid = Oid([1, 0, 0]);
        let mut failures = [0; 3];
        for nth in 1.. {
            rig.tmem.faults.left.add(nth);
            let result = rig.tmem.new_client(GFP_KERNEL);
            let unused = rig.tmem.faults.left.get();
            rig.tmem.faults.left.sub(unused);
            if result.is_ok() {
                break;
            }
            failures[0] += 1;
        }
        for nth in 1.. {
            rig.tmem.faults.left.add(nth);
            let result = rig.pool(Ephemeral);
            let unused = rig.tmem.faults.left.get();
            rig.tmem.faults.left.sub(unused);
            if let Ok(pool) = result {
                rig.tmem.destroy_pool(rig.client, pool)?;
                break;
            }
            assert_eq!(rig.tmem.stats.pools.now(), 0);
            failures[1] += 1;
        }
        let pool = rig.pool(Ephemeral)?;
        for nth in 1.. {
            rig.tmem.faults.left.add(nth);
            let result = rig.put(pool, &oid, 0, 1);
            let unused = rig.tmem.faults.left.get();
            rig.tmem.faults.left.sub(unused);
            if result.is_ok() {
                break;
            }
            assert!(rig.clean());
            failures[2] += 1;
        }
        assert_eq!(failures, [1, 4, 1]);
        assert_eq!(rig.get(pool, &oid, 0), Ok(1));
        Ok(())
    }

    /// V2's memory corruption: a get that lost to eviction succeeded with the page unfilled.
    #[test]
    fn get_after_eviction_misses_and_leaves_the_page_alone() -> Result {
        let mut rig = Rig::new()?;
        let pool = rig.pool(Ephemeral)?;
        let oid = Oid([1, 0, 0]);
        rig.put(pool, &oid, 33, 1)?;
        let (back, handle, _) = rig.fake.victim(0).ok_or(EINVAL)?;
        assert!(rig.tmem.forget(back, handle));
        assert!(rig.misses(pool, &oid, 33));
        assert!(!rig.tmem.forget(back, handle));
        assert_eq!(rig.fake.live(), 1);
        rig.tmem.pam.free(Ephemeral, handle);
        assert!(rig.clean());
        Ok(())
    }

    #[test]
    fn eviction_loses_against_get_and_flush() -> Result {
        let mut rig = Rig::new()?;
        let pool = rig.pool(Ephemeral)?;
        let oid = Oid([1, 0, 0]);
        for flush in [false, true] {
            rig.put(pool, &oid, 0, 1)?;
            let (back, handle, _) = rig.fake.victim(0).ok_or(EINVAL)?;
            if flush {
                assert!(rig.tmem.flush_page(pool, &oid, 0));
            } else {
                assert_eq!(rig.get(pool, &oid, 0), Ok(1));
            }
            assert!(!rig.tmem.forget(back, handle));
        }
        assert!(rig.clean());
        Ok(())
    }

    /// The page was created, but its put has not come to the index yet.
    #[test]
    fn eviction_gives_up_on_a_page_not_indexed_yet() -> Result {
        let mut rig = Rig::new()?;
        let pool = rig.pool(Ephemeral)?;
        let oid = Oid([1, 0, 0]);
        let back = BackRef {
            pool,
            hash: oid.hash(),
            index: 0,
        };
        let handle = rig.tmem.pam.create(Ephemeral, &rig.page, back)?;
        assert!(!rig.tmem.forget(back, handle));
        // Nor does it take another page in that place.
        rig.put(pool, &oid, 0, 2)?;
        assert!(!rig.tmem.forget(back, handle));
        assert_eq!(rig.get(pool, &oid, 0), Ok(2));
        rig.tmem.pam.free(Ephemeral, handle);
        assert!(rig.clean());
        Ok(())
    }

    #[test]
    fn objects_with_one_hash_are_told_apart() -> Result {
        let (one, two) = colliding();
        assert!(one != two);
        assert_eq!(one.hash(), two.hash());
        let mut rig = Rig::new()?;
        let pool = rig.pool(Ephemeral)?;
        // Many chunks each, so that the search must step from one object to the other.
        for n in 0..5 {
            rig.put(pool, &one, n * 16, n)?;
            rig.put(pool, &two, n * 16, 10 + n)?;
        }
        assert_eq!(rig.tmem.stats.objects.now(), 2);
        for _ in 0..10 {
            let (back, handle, seed) = rig.fake.victim(0).ok_or(EINVAL)?;
            assert_eq!(u64::from(back.index), seed % 10 * 16);
            assert!(rig.tmem.forget(back, handle));
            rig.tmem.pam.free(Ephemeral, handle);
            let (mine, other) = if seed < 10 { (one, two) } else { (two, one) };
            let index = u64::from(back.index);
            assert!(!rig.tmem.has_pages(pool, &mine, index..=index));
            // The other object's page is there until its own turn, which is the next one.
            assert_eq!(rig.tmem.has_pages(pool, &other, index..=index), seed < 10);
        }
        assert!(rig.clean());
        Ok(())
    }

    #[test]
    fn corrupt_ephemeral_page_becomes_a_miss() -> Result {
        let mut rig = Rig::new()?;
        let oid = Oid([1, 0, 0]);
        for uuid in [None, UUID] {
            let pool = rig.tmem.new_pool(rig.client, Ephemeral, uuid, GFP_KERNEL)?;
            rig.put(pool, &oid, 0, 1)?;
            rig.fake.corrupt.store(true, Relaxed);
            assert_eq!(rig.get(pool, &oid, 0), Err(EIO));
            rig.fake.corrupt.store(false, Relaxed);
            assert!(rig.misses(pool, &oid, 0));
            assert!(rig.clean());
        }
        assert_eq!(rig.tmem.stats.failed_gets.of(Ephemeral).get(), 2);
        assert_eq!(rig.tmem.stats.hits.of(Ephemeral).get(), 0);
        Ok(())
    }

    /// A miss after an error would send the reader to older data on the swap device.
    #[test]
    fn corrupt_persistent_page_keeps_failing_until_flushed() -> Result {
        let mut rig = Rig::new()?;
        let oid = Oid([1, 0, 0]);
        for uuid in [None, UUID] {
            let pool = rig
                .tmem
                .new_pool(rig.client, Persistent, uuid, GFP_KERNEL)?;
            for neighbours in [0, 1] {
                for n in 0..=neighbours {
                    rig.put(pool, &oid, n, n)?;
                }
                rig.fake.corrupt.store(true, Relaxed);
                for _ in 0..3 {
                    // The node it left must be used again: no allocation is to be had.
                    rig.tmem.faults.left.add(1);
                    assert_eq!(rig.get(pool, &oid, 0), Err(EIO));
                    assert_eq!(rig.tmem.faults.left.get(), 1);
                    rig.tmem.faults.left.sub(1);
                    assert_eq!(rig.pages(), neighbours + 1);
                }
                rig.fake.corrupt.store(false, Relaxed);
                assert_eq!(rig.get(pool, &oid, 0), Ok(0));
                rig.tmem.flush_object(pool, &oid);
                assert!(rig.misses(pool, &oid, 0));
                assert!(rig.clean());
            }
        }
        Ok(())
    }

    #[test]
    fn evicted_page_is_taken_out_and_is_no_get() -> Result {
        let mut rig = Rig::new()?;
        let oid = Oid([1, 0, 0]);
        let pool = rig
            .tmem
            .new_pool(rig.client, Persistent, None, GFP_KERNEL)?;
        let mut page = blank_page()?;
        assert_eq!(rig.tmem.evict(pool, &oid, 0, &mut page), Err(ENOENT));
        rig.put(pool, &oid, 0, 7)?;
        rig.put(pool, &oid, 1, 8)?;
        rig.fake.corrupt.store(true, Relaxed);
        assert_eq!(rig.tmem.evict(pool, &oid, 0, &mut page), Err(EIO));
        assert_eq!(rig.pages(), 2);
        rig.fake.corrupt.store(false, Relaxed);
        assert_eq!(rig.tmem.evict(pool, &oid, 0, &mut page), Ok(()));
        assert!(is_filled(&page, 7));
        assert_eq!(rig.pages(), 1);
        assert_eq!(rig.tmem.evict(pool, &oid, 0, &mut page), Err(ENOENT));
        assert_eq!(rig.tmem.evict(pool, &oid, u64::MAX, &mut page), Err(ENOENT));
        let stats = rig.tmem.stats();
        assert_eq!(stats.gets.of(Persistent).get(), 0);
        assert_eq!(stats.hits.of(Persistent).get(), 0);
        assert_eq!(stats.failed_gets.of(Persistent).get(), 0);
        assert_eq!(rig.get(pool, &oid, 1), Ok(8));
        assert!(rig.clean());
        Ok(())
    }

    /// No reference to be had: that is not a miss either.
    #[test]
    fn persistent_page_that_cannot_be_held_is_an_error() -> Result {
        let mut rig = Rig::new()?;
        let pool = rig
            .tmem
            .new_pool(rig.client, Persistent, UUID, GFP_KERNEL)?;
        let oid = Oid([1, 0, 0]);
        rig.put(pool, &oid, 0, 1)?;
        rig.fake.saturated.store(true, Relaxed);
        assert_eq!(rig.get(pool, &oid, 0), Err(EIO));
        rig.fake.saturated.store(false, Relaxed);
        assert_eq!(rig.get(pool, &oid, 0), Ok(1));
        Ok(())
    }

    /// A page that goes back into its place does not displace a newer one.
    #[test]
    fn page_put_back_yields_to_a_newer_one() -> Result {
        let mut rig = Rig::new()?;
        let id = rig.pool(Persistent)?;
        let pool = rig.tmem.pool(id).ok_or(EINVAL)?;
        let oid = Oid([1, 0, 0]);
        let place = Place::new(id, &oid, 0);
        rig.put(id, &oid, 0, 1)?;
        let old = rig.tmem.take(&pool, &place).ok_or(EINVAL)?;
        rig.put(id, &oid, 0, 2)?;
        rig.tmem
            .index(&pool, &place, old.handle, false, None, GFP_KERNEL)?;
        assert_eq!(rig.get(id, &oid, 0), Ok(2));
        assert!(rig.clean());
        Ok(())
    }

    /// Under a spinlock, as in reclaim: DEBUG_ATOMIC_SLEEP tells if anything may sleep.
    #[test]
    fn flushes_work_in_atomic_context() -> Result {
        stack_pin_init!(let outer = new_spinlock!((), "test_outer"));
        let mut rig = Rig::new()?;
        let pool = rig.pool(Persistent)?;
        let oid = Oid([1, 0, 0]);
        for n in 0..40 {
            rig.put(pool, &oid, n, n)?;
        }
        rig.fake.atomic.store(true, Relaxed);
        let (found, pages, rest) = {
            let _guard = outer.lock();
            let found = rig.tmem.flush_page(pool, &oid, 3);
            let pages = rig.tmem.flush_range(pool, &oid, 10..=29);
            (found, pages, rig.tmem.flush_object(pool, &oid))
        };
        rig.fake.atomic.store(false, Relaxed);
        assert!(found);
        assert_eq!((pages, rest), (20, 19));
        assert!(rig.clean());
        Ok(())
    }

    #[test]
    fn memory_of_the_index_is_as_documented() -> Result {
        let mut rig = Rig::new()?;
        let empty = rig.tmem.metadata_bytes();
        assert_eq!(empty, 0);
        let pool = rig.pool(Ephemeral)?;
        let bare = rig.tmem.metadata_bytes();
        for n in 0..160 {
            rig.put(pool, &Oid([1, 0, 0]), n, n)?;
        }
        assert_eq!(rig.tmem.stats.chunks.now(), 10);
        assert_eq!(rig.tmem.metadata_bytes() - bare, 160 * 12);
        Ok(())
    }

    /// V2's swap half used 16 of its 256 buckets.
    #[test]
    fn neighbouring_objects_use_all_buckets() -> Result {
        for word in 0..3 {
            for step in [1, 16, 1 << 14, 1 << 32] {
                let mut load = KVec::from_elem(0u32, 256, GFP_KERNEL)?;
                for n in 0..4096u64 {
                    let mut oid = Oid([0; 3]);
                    oid.0[word] = n * step;
                    load[oid.hash() as usize % 256] += 1;
                }
                // 16 each on average.
                assert!(load.iter().all(|objects| (1..=64).contains(objects)));
            }
        }
        Ok(())
    }
}
