// SPDX-License-Identifier: GPL-2.0

//! One pool: the index from *(object, index)* to handles.
//!
//! See the head of `tmem.rs` for its shape and its locks. Nothing here allocates but
//! [`Pool::new`], and nothing here calls the PAM: what is taken out is returned.

use core::mem;

use kernel::{
    alloc::Flags,
    new_spinlock,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode,
        RBTreeNodeReservation, //
    },
    static_assert,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        SpinLock, //
    },
    task::might_sleep, //
};

use super::{
    stats::{
        Counter,
        Number,
        Stats, //
    },
    BackRef,
    Faults,
    Handle,
    Kind,
    Oid,
    PoolId,
    Uuid, //
};

/// Indices that one chunk covers.
const SLOTS: u32 = 16;

/// Buckets of a pool: a power of two, one page of them when locks are four bytes.
const BUCKETS: usize = 256;

/// Memory for one index node: links, key and value.
pub(super) const NODE_BYTES: usize = 3 * size_of::<usize>() + size_of::<Key>() + size_of::<Chunk>();

/// Memory for one pool without its nodes.
pub(super) const POOL_BYTES: usize = size_of::<Pool>() + size_of::<Buckets>();

// A slab class; one word more would cost a third more memory.
#[cfg(CONFIG_64BIT)]
static_assert!(NODE_BYTES == 192);

type Tree = RBTree<Key, Chunk>;
type Node = RBTreeNode<Key, Chunk>;
/// Memory for a chunk that is not in a tree yet.
pub(super) type Spare = RBTreeNodeReservation<Key, Chunk>;
type Buckets = [SpinLock<Tree>; BUCKETS];

/// The key of a chunk. Field order is sort order: chunks of one object are neighbours.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// `oid.hash()`, in front: [`super::Tmem::forget`] searches without the rest of the name.
    pub(super) hash: u32,
    oid: Oid,
    /// Index divided by [`SLOTS`].
    chunk: u32,
}

impl Key {
    fn same_object(&self, other: &Key) -> bool {
        self.hash == other.hash && self.oid == other.oid
    }

    /// Returns what leads to `slot` of this chunk in pool `id`.
    fn back(&self, id: PoolId, slot: usize) -> BackRef {
        BackRef {
            pool: id,
            hash: self.hash,
            // CAST: below `SLOTS`.
            index: self.chunk * SLOTS + slot as u32,
        }
    }

    /// Like `back`, for the chunk before this one.
    pub(super) fn back_before(&self, id: PoolId, slot: usize) -> BackRef {
        Key {
            chunk: self.chunk - 1,
            ..*self
        }
        .back(id, slot)
    }
}

/// Where in the index a page is.
pub(super) struct Place {
    /// The pool that the page is, or will be, in.
    pool: PoolId,
    /// Where its chunk is.
    pub(super) key: Key,
    /// Below [`SLOTS`].
    slot: usize,
}

impl Place {
    /// Returns the place of page `index` of object `oid` in `pool`.
    pub(super) fn new(pool: PoolId, oid: &Oid, index: u32) -> Self {
        let key = Key {
            hash: oid.hash(),
            oid: *oid,
            chunk: index / SLOTS,
        };
        Self {
            pool,
            key,
            slot: slot(index),
        }
    }

    /// Returns what leads to this place.
    pub(super) fn back(&self) -> BackRef {
        self.key.back(self.pool, self.slot)
    }
}

/// Returns the slot of `index` in its chunk, below [`SLOTS`].
const fn slot(index: u32) -> usize {
    // CAST: below 16.
    (index % SLOTS) as usize
}

/// Returns a bit for each slot of chunk number `chunk` that is in `first..=last`.
fn slots_between(chunk: u32, first: u32, last: u32) -> u16 {
    let mut bits = u16::MAX;
    if chunk == first / SLOTS {
        bits &= u16::MAX << slot(first);
    }
    if chunk == last / SLOTS {
        bits &= u16::MAX >> (SLOTS as usize - 1 - slot(last));
    }
    bits
}

/// Handles of up to [`SLOTS`] neighbouring pages of one object.
#[derive(Clone)]
pub(super) struct Chunk {
    /// Valid where `used` has a bit.
    handles: [Handle; SLOTS as usize],
    /// Bit `n`: slot `n` holds a page. Never zero in a tree.
    used: u16,
}

// In the three methods with a `slot`: PANIC: it is below `SLOTS`, as `slot()` made it.
impl Chunk {
    const EMPTY: Self = Self {
        handles: [Handle(0); SLOTS as usize],
        used: 0,
    };

    fn get(&self, slot: usize) -> Option<Handle> {
        (self.used & (1 << slot) != 0).then_some(self.handles[slot])
    }

    /// Fills a slot.
    fn set(&mut self, slot: usize, handle: Handle) {
        self.handles[slot] = handle;
        self.used |= 1 << slot;
    }

    /// Empties a slot, if it holds `only` or if `only` is not given, and returns what was there.
    fn take(&mut self, slot: usize, only: Option<Handle>) -> Option<Handle> {
        let handle = self.get(slot)?;
        if only.is_some_and(|only| only != handle) {
            return None;
        }
        self.used &= !(1 << slot);
        Some(handle)
    }

    /// Moves the slots in `bits` out into a chunk of their own.
    fn split(&mut self, bits: u16) -> Chunk {
        let mut out = self.clone();
        out.used &= bits;
        self.used &= !bits;
        out
    }

    fn pages(&self) -> u64 {
        u64::from(self.used.count_ones())
    }

    /// Goes through the handles and their slots, in the order of their indices.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, Handle)> + '_ {
        (0..SLOTS as usize).filter_map(|slot| Some((slot, self.get(slot)?)))
    }
}

/// A page out of the index. The taker owns its reference.
pub(super) struct Taken {
    /// The page.
    pub(super) handle: Handle,
    /// The node that held it, if it held nothing else. To be dropped with no lock held.
    pub(super) node: Option<Node>,
}

/// What came of one attempt to insert a page.
pub(super) enum Insert {
    /// One page is in. If there were two, this is the other one; it belongs to the caller.
    Done(Option<Handle>),
    /// A node is needed: allocate one without the lock, and try again.
    NeedNode,
    /// The pool is being destroyed; nothing may enter it.
    Dead,
}

/// A set of objects with a common fate.
///
/// Counted by reference, so that operations under way outlive the pool's destruction harmlessly.
pub(super) struct Pool {
    /// What its pages are.
    pub(super) kind: Kind,
    /// Set if several clients may use the pool; its gets leave the page where it is.
    pub(super) shared: Option<Uuid>,
    /// Pages in the index; changes under bucket locks only. Spares an empty pool all searches.
    pages: Number,
    /// Pages ever stored.
    pub(super) puts: Counter,
    /// Gets ever.
    pub(super) gets: Counter,
    /// Those of them that filled the page.
    pub(super) hits: Counter,
    /// Set before the buckets are emptied for the last time, read under bucket locks: whoever
    /// locks a bucket after it was emptied sees it.
    dead: Atomic<bool>,
    buckets: Pin<KBox<Buckets>>,
}

impl Pool {
    /// Allocates an empty pool with `gfp`, in two pieces.
    pub(super) fn new(
        kind: Kind,
        shared: Option<Uuid>,
        gfp: Flags,
        faults: &Faults,
    ) -> Result<Arc<Self>> {
        faults.check()?;
        let buckets = KBox::pin_init(
            pin_init::pin_init_array_from_fn(|_| new_spinlock!(Tree::new(), "tmem_bucket")),
            gfp,
        )?;
        faults.check()?;
        let pool = Arc::new(
            Self {
                kind,
                shared,
                pages: Number::default(),
                puts: Counter::default(),
                gets: Counter::default(),
                hits: Counter::default(),
                dead: Atomic::new(false),
                buckets,
            },
            gfp,
        )?;
        Ok(pool)
    }

    /// Returns how many pages the pool has, without a lock.
    pub(super) fn pages(&self) -> u64 {
        self.pages.get()
    }

    /// Returns whether the pool has no pages, without a lock.
    pub(super) fn is_empty(&self) -> bool {
        self.pages() == 0
    }

    fn bucket(&self, hash: u32) -> &SpinLock<Tree> {
        // CAST, PANIC: the remainder is below `BUCKETS`.
        &self.buckets[hash as usize % BUCKETS]
    }

    /// Tries to insert a page, with the node in `spare` if one is needed.
    ///
    /// If there is a page in its place, `newest` tells which of the two is to stay.
    pub(super) fn insert(
        &self,
        stats: &Stats,
        place: &Place,
        handle: Handle,
        newest: bool,
        spare: &mut Option<Spare>,
    ) -> Insert {
        let mut tree = self.bucket(place.key.hash).lock();
        if self.dead.load(Relaxed) {
            return Insert::Dead;
        }
        let mut old = None;
        if let Some(chunk) = tree.get_mut(&place.key) {
            old = chunk.get(place.slot);
            if old.is_some() && !newest {
                return Insert::Done(Some(handle));
            }
            chunk.set(place.slot, handle);
        } else if let Some(spare) = spare.take() {
            if !has_object(&tree, &place.key) {
                stats.objects.add(1);
            }
            stats.chunks.add(1);
            let mut chunk = Chunk::EMPTY;
            chunk.set(place.slot, handle);
            tree.insert(spare.into_node(place.key, chunk));
        } else {
            return Insert::NeedNode;
        }
        if old.is_none() {
            self.pages.add(1);
            stats.pages.of(self.kind).add(1);
        }
        Insert::Done(old)
    }

    /// Takes out the page at `place`, if there is one; if `only` is given, only that one.
    pub(super) fn take(&self, stats: &Stats, place: &Place, only: Option<Handle>) -> Option<Taken> {
        let mut tree = self.bucket(place.key.hash).lock();
        self.take_from(&mut tree, stats, place, only)
    }

    /// Like [`Pool::take`], with the bucket locked.
    fn take_from(
        &self,
        tree: &mut Tree,
        stats: &Stats,
        place: &Place,
        only: Option<Handle>,
    ) -> Option<Taken> {
        let mut entry = tree.find_mut(&place.key)?;
        let chunk = entry.get_mut();
        let handle = chunk.take(place.slot, only)?;
        let node = if chunk.used == 0 {
            Some(entry.remove_node())
        } else {
            None
        };
        self.count_taken(tree, stats, &place.key, 1, node.is_some());
        Some(Taken { handle, node })
    }

    /// Takes out page `handle` that `back` leads to, of one of the objects with that hash.
    pub(super) fn take_hashed(
        &self,
        stats: &Stats,
        back: BackRef,
        handle: Handle,
    ) -> Option<Taken> {
        let BackRef { pool, hash, index } = back;
        let mut tree = self.bucket(hash).lock();
        let mut from = Key {
            hash,
            oid: Oid([0; 3]),
            chunk: 0,
        };
        loop {
            // Two objects with one hash are rare, so this finds the only one at once.
            let mut key = *tree.cursor_lower_bound(&from)?.current().0;
            if key.hash != hash {
                return None;
            }
            key.chunk = index / SLOTS;
            let slot = slot(index);
            let place = Place { pool, key, slot };
            if let Some(taken) = self.take_from(&mut tree, stats, &place, Some(handle)) {
                return Some(taken);
            }
            // No chunk has this number, so the next search starts behind the object.
            key.chunk = u32::MAX;
            from = key;
        }
    }

    /// Takes the pages in `first..=last` out of the first chunk at or behind `from` with any.
    ///
    /// Moves `from` behind that chunk. The node that is returned was the chunk's, if nothing was
    /// left in it, and is to be dropped with no lock held.
    pub(super) fn take_chunk(
        &self,
        stats: &Stats,
        from: &mut Key,
        first: u32,
        last: u32,
    ) -> Option<(Chunk, Option<Node>)> {
        let mut tree = self.bucket(from.hash).lock();
        loop {
            let mut cursor = tree.cursor_lower_bound_mut(from)?;
            let (key, chunk) = cursor.current_mut();
            if !key.same_object(from) || key.chunk > last / SLOTS {
                return None;
            }
            let taken = chunk.split(slots_between(key.chunk, first, last));
            let emptied = chunk.used == 0;
            from.chunk = key.chunk + 1;
            if taken.used == 0 {
                continue;
            }
            let node = emptied.then(|| cursor.remove_current().1);
            self.count_taken(&tree, stats, from, taken.pages(), emptied);
            return Some((taken, node));
        }
    }

    /// Finds the page at `place`, and passes its handle to `hold`; returns it, or its error.
    ///
    /// `hold` runs with the bucket locked: the entry, and so the page, cannot go meanwhile.
    pub(super) fn find(
        &self,
        place: &Place,
        hold: impl FnOnce(Handle) -> Result,
    ) -> Option<Result<Handle>> {
        let tree = self.bucket(place.key.hash).lock();
        let handle = tree.get(&place.key)?.get(place.slot)?;
        Some(hold(handle).map(|()| handle))
    }

    /// Keeps count of `pages` that were taken out of the object of `key`, bucket locked.
    fn count_taken(&self, tree: &Tree, stats: &Stats, key: &Key, pages: u64, chunk_gone: bool) {
        self.pages.sub(pages);
        stats.pages.of(self.kind).sub(pages);
        if chunk_gone {
            stats.chunks.sub(1);
            if !has_object(tree, key) {
                stats.objects.sub(1);
            }
        }
    }

    /// Returns whether a page of the object of `from` is in `first..=last`.
    pub(super) fn has_pages(&self, mut from: Key, first: u32, last: u32) -> bool {
        let tree = self.bucket(from.hash).lock();
        // At most three turns: only the first and the last chunk can be there and not count.
        while let Some(cursor) = tree.cursor_lower_bound(&from) {
            let (key, chunk) = cursor.current();
            if !key.same_object(&from) || key.chunk > last / SLOTS {
                return false;
            }
            if chunk.used & slots_between(key.chunk, first, last) != 0 {
                return true;
            }
            from.chunk = key.chunk + 1;
        }
        false
    }

    /// Passes every page to `free`, with no lock held, and keeps the pool empty from now on.
    ///
    /// May sleep between buckets, since there may be millions of pages. `id` is the pool's.
    pub(super) fn drain(&self, stats: &Stats, id: PoolId, free: impl FnMut(Handle, BackRef)) {
        self.dead.store(true, Relaxed);
        self.empty(stats, id, free);
    }

    /// Like [`Pool::drain`], but pages may enter again. None that was there before stays.
    pub(super) fn empty(&self, stats: &Stats, id: PoolId, mut free: impl FnMut(Handle, BackRef)) {
        for bucket in self.buckets.iter() {
            might_sleep();
            let tree = mem::take(&mut *bucket.lock());
            let mut object = None;
            for (key, chunk) in &tree {
                if object.replace(key.oid) != Some(key.oid) {
                    stats.objects.sub(1);
                }
                stats.chunks.sub(1);
                stats.pages.of(self.kind).sub(chunk.pages());
                self.pages.sub(chunk.pages());
                for (slot, handle) in chunk.iter() {
                    free(handle, key.back(id, slot));
                }
            }
        }
    }
}

/// Returns whether `tree` has a chunk of the object of `key`.
fn has_object(tree: &Tree, key: &Key) -> bool {
    let first = Key { chunk: 0, ..*key };
    tree.cursor_lower_bound(&first)
        .is_some_and(|cursor| cursor.current().0.same_object(key))
}
