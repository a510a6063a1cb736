// SPDX-License-Identifier: GPL-2.0

//! Transcendent memory: the index between the names of pages and the pages stored for them.
//!
//! A caller names a page by *(pool, object, index)* and may [`put`](Tmem::put_of),
//! [`get`](Tmem::get) or flush it. How a page is stored is not known here: a [`Pam`]
//! (page-addressable memory) keeps the data, counts its references and calls it by an opaque
//! [`Handle`].
//!
//! # Ownership
//!
//! An index entry owns one reference to the data. Whoever takes the entry out owns the reference
//! from then on, and gives it back with [`Pam::free`]: a get from a private pool, a flush, a put
//! over an older page, and eviction, which must name the very handle ([`Tmem::forget`]). A get
//! from a shared pool leaves the entry and takes a second reference under the index lock. The
//! last reference frees the data. So nobody ever reads data that somebody else frees, and a page
//! whose eviction has begun is either still found whole or not found. `tests/loom` models this.
//!
//! # Index
//!
//! ```text
//! pool -> BUCKETS buckets, by hash of the object -> spinlock + red-black tree of chunks
//! ```
//!
//! A chunk covers 16 indices of one object, and is a tree node by itself: 24 bytes of links, 32
//! of key, 128 of handles, 8 of flags; 192 bytes, which is a slab class. There is no node for an
//! object, it is the run of chunks with its name. A densely cached file costs 12 bytes a page, a
//! small file one node. A radix tree for each object would cost 9 bytes a page in dense files, but
//! a 576-byte node and the object itself where two pages are cached, and most files are small.
//! Range flushes walk the run from a lower bound, and nodes are allocated outside the lock.
//!
//! # Contexts
//!
//! Flushes and [`Tmem::forget`] neither sleep nor allocate, and so may come from atomic context,
//! though never from an interrupt. Everything else may sleep. Callers order a put against flushes
//! of the same page themselves (by the folio lock, say): a flush does not see a put under way.

// Locks, both spinlocks because flushes come from atomic context:
//
//  1. `Tmem::table`: held to look a pool up; nothing is locked inside.
//  2. `Pool::buckets`: held for one step in one tree. Inside it only `Pam::get_ref` is called,
//     with whatever lock that takes; so a PAM never calls `Tmem::forget` with that lock held.
//
//  3. `Tmem::spares`: held to take a node or to leave one.
//
// None of them nests in another. Memory is allocated, and pages and nodes are freed, with neither
// held.

use core::{
    fmt,
    mem,
    ops::RangeInclusive,
    str, //
};

use kernel::{
    alloc::Flags,
    new_spinlock,
    page::PAGE_SIZE,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode,
        RBTreeNodeReservation, //
    },
    static_assert,
    sync::{
        Arc,
        SpinLock, //
    },
    task::might_sleep, //
};

mod pool;
mod stats;
#[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
mod tests;

use self::pool::{
    Insert,
    Place,
    Pool,
    Spare,
    Taken,
    NODE_BYTES,
    POOL_BYTES, //
};

pub(crate) use self::stats::{
    Gauge,
    Stats, //
};

/// The content of one page.
pub(crate) type PageBytes = [u8; PAGE_SIZE];

/// A PAM's name for one stored page.
///
/// Every 64-bit value is allowed. While there is a reference to a page, no other page of that PAM
/// has the same handle.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handle(pub(crate) u64);

/// Names a pool. Never reused, so a stale id finds nothing; never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PoolId(pub(crate) u64);

/// Names a client, which is whoever owns pools: a filesystem, the swap half. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClientId(pub(crate) u32);

/// Names a shared pool among clients. To know it is the permission to join.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Uuid(pub(crate) [u8; 16]);

/// Names an object, which is one file or one run of a swap area, inside a pool.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Oid(pub(crate) [u64; 3]);

impl Oid {
    /// Returns the hash that picks the bucket (by its low bits) and leads the key there.
    fn hash(&self) -> u32 {
        let mixed = self.0.iter().fold(0, |sum, word| mix(sum ^ word));
        // CAST: the lower half is what is wanted; `mix` has folded the upper half into it.
        mixed as u32
    }
}

/// Spreads the bits of one word over its lower half.
const fn mix(word: u64) -> u64 {
    // The multiplier is 2^64 divided by the golden ratio, as in Knuth's multiplicative hashing.
    let word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word ^ (word >> 32)
}

/// What may become of the pages of a pool.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Pages may vanish at any time: clean page-cache pages.
    Ephemeral,
    /// Pages stay until they are fetched or flushed: swapped-out pages.
    Persistent,
}

/// Whose a page is: a memory cgroup, as a number, for those who count.
///
/// Numbers of groups that are gone are given out anew.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Group(pub(crate) u16);

impl Group {
    /// Nobody's.
    pub(crate) const NONE: Self = Self(0);
}

/// The way back from a stored page to its index entry, in 16 bytes.
///
/// A PAM keeps one beside each page, and passes it to [`Tmem::forget`] to evict the page. The
/// hash of the object stands for its name; that is enough, because the handle is compared too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct BackRef {
    /// The pool that the page was put into.
    pub(crate) pool: PoolId,
    /// Hash of the object that the page is part of.
    pub(crate) hash: u32,
    /// The page's number in its object.
    pub(crate) index: u32,
}

static_assert!(size_of::<BackRef>() == 16);

/// Page-addressable memory: keeps the data of pages and counts the references to each.
pub(crate) trait Pam: Send + Sync {
    /// Stores a copy of `page` and returns its handle, with one reference that the caller owns.
    ///
    /// May sleep; no lock of this file is held. `back` is what [`Tmem::forget`] takes for this
    /// page; it finds nothing until the put is over, and eviction must cope with that.
    fn create(&self, kind: Kind, page: &PageBytes, back: BackRef) -> Result<Handle>;

    /// Like [`Pam::create`], for a PAM that wants to know whose the page is.
    fn create_of(
        &self,
        _group: Group,
        kind: Kind,
        page: &PageBytes,
        back: BackRef,
    ) -> Result<Handle> {
        self.create(kind, page, back)
    }

    /// Takes one more reference to a page, for a get from a shared pool.
    ///
    /// Called under an index lock: must neither sleep nor call into [`Tmem`]. Fails when the
    /// count would overflow.
    fn get_ref(&self, kind: Kind, handle: Handle) -> Result;

    /// Fills `page` from a stored page of which the caller owns a reference, and keeps it.
    ///
    /// May sleep; no lock of this file is held. Any error means that the stored data is corrupt;
    /// what `page` then contains is not defined.
    fn get_data(&self, kind: Kind, handle: Handle, page: &mut PageBytes) -> Result;

    /// Gives back one reference; the last one frees the data.
    ///
    /// Must not sleep, since flushes come from atomic context. No lock of this file is held.
    fn free(&self, kind: Kind, handle: Handle);

    /// Like [`Pam::free`], for a reference that an index entry owned; `back` is what
    /// [`Pam::create`] was told for that entry.
    ///
    /// For a PAM that lets several entries share one page, and has to know them all.
    fn free_entry(&self, kind: Kind, handle: Handle, _back: BackRef) {
        self.free(kind, handle);
    }

    /// A get has found the page that `back` stands for. Any context; no lock of this file is held.
    fn hit(&self, _kind: Kind, _back: BackRef) {}
}

/// What the pages of a pool belong to, for people: one line of ASCII, cut off if need be.
#[derive(Clone, Copy)]
pub(crate) struct Label {
    text: [u8; Label::LEN],
}

impl Label {
    /// The longest, in bytes: the type of a filesystem, and the name of its device.
    const LEN: usize = 56;

    const EMPTY: Self = Self {
        text: [0; Self::LEN],
    };

    /// Two words with a space between. What is not a visible character becomes a question mark.
    pub(crate) fn new(kind: &[u8], device: &[u8]) -> Self {
        let mut label = Self::EMPTY;
        let text = [kind, b" ", device].into_iter().flatten();
        for (place, (to, from)) in label.text.iter_mut().zip(text).enumerate() {
            *to = match from {
                b'!'..=b'~' => *from,
                b' ' if place == kind.len() => b' ',
                _ => b'?',
            };
        }
        label
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text.split(|byte| *byte == 0).next();
        f.write_str(
            text.and_then(|text| str::from_utf8(text).ok())
                .unwrap_or(""),
        )
    }
}

/// A pool, for those who list them.
pub(crate) struct PoolView {
    /// Its name.
    pub(crate) id: PoolId,
    /// What its pages are.
    pub(crate) kind: Kind,
    /// What they belong to.
    pub(crate) label: Label,
    /// Pages that a get would find.
    pub(crate) pages: u64,
    /// Pages ever stored.
    pub(crate) puts: u64,
    /// Gets ever.
    pub(crate) gets: u64,
    /// Those of them that filled the page.
    pub(crate) hits: u64,
}

/// A pool's place in the table.
struct Seat {
    pool: Arc<Pool>,
    label: Label,
    /// Clients that use the pool; it is destroyed when the last one leaves.
    members: u32,
}

/// Who exists, and who uses what.
struct Table {
    clients: RBTree<ClientId, ()>,
    pools: RBTree<PoolId, Seat>,
    members: RBTree<(ClientId, PoolId), ()>,
    last_client: u32,
    last_pool: u64,
}

impl Table {
    fn new() -> Self {
        Self {
            clients: RBTree::new(),
            pools: RBTree::new(),
            members: RBTree::new(),
            last_client: 0,
            last_pool: 0,
        }
    }

    /// Returns the shared pool with that name.
    fn shared(&self, kind: Kind, uuid: Uuid) -> Option<PoolId> {
        self.pools
            .iter()
            .find(|(_, seat)| seat.pool.kind == kind && seat.pool.shared == Some(uuid))
            .map(|(id, _)| *id)
    }

    /// Returns one of the pools that `client` uses.
    fn any_pool_of(&self, client: ClientId) -> Option<PoolId> {
        let cursor = self.members.cursor_lower_bound(&(client, PoolId(0)))?;
        let (&(member, pool), ()) = cursor.current();
        (member == client).then_some(pool)
    }
}

/// Index nodes that wait for puts: 24 KiB, enough for the 32 pages of one step of reclaim four
/// times over, were each of another file.
const SPARES: usize = 128;

/// The core: clients, their pools, the index of each pool, and the PAM below.
#[pin_data(PinnedDrop)]
pub(crate) struct Tmem<P: Pam> {
    #[pin]
    table: SpinLock<Table>,
    /// Up to [`SPARES`] nodes for puts that can get none; never reallocated.
    #[pin]
    spares: SpinLock<KVec<Spare>>,
    stats: Stats,
    faults: Faults,
    #[pin]
    pam: P,
}

impl<P: Pam> Tmem<P> {
    /// Returns an initialiser for a core without clients, on top of what `pam` initialises.
    ///
    /// A PAM that need not be pinned is passed as `Ok(pam)`.
    pub(crate) fn new(pam: impl PinInit<P, Error>) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            table <- new_spinlock!(Table::new(), "tmem_table"),
            spares <- new_spinlock!(KVec::with_capacity(SPARES, GFP_KERNEL)?, "tmem_spares"),
            stats: Stats::default(),
            faults: Faults::default(),
            pam <- pam,
        })
    }

    /// Returns the PAM under this core.
    pub(crate) fn pam(&self) -> &P {
        &self.pam
    }

    /// Returns the counters.
    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Returns how many bytes the index takes.
    pub(crate) fn metadata_bytes(&self) -> u64 {
        // CAST: `SPARES` and both sizes are far below 2^32.
        let nodes = self.stats.chunks.now() + self.spares.lock().len() as u64;
        nodes * NODE_BYTES as u64 + self.stats.pools.now() * POOL_BYTES as u64
    }

    /// Allocates index nodes for puts to come, with `gfp`, until enough are there or one fails.
    ///
    /// For those who have memory, on behalf of those who will have none.
    pub(crate) fn top_up(&self, gfp: Flags) {
        while self.spares.lock().len() < SPARES {
            let Ok(node) = self.reserve(gfp) else {
                break;
            };
            self.keep(node);
        }
    }

    /// Keeps a node for puts to come, or frees it if there are enough.
    fn keep(&self, node: Spare) {
        let excess = self.spares.lock().push_within_capacity(node);
        // Freed here, without the lock.
        drop(excess);
    }

    /// A node for a put: a new one, or else one that was kept.
    fn node(&self, gfp: Flags) -> Result<Spare> {
        self.reserve(gfp)
            .or_else(|error| self.spares.lock().pop().ok_or(error))
    }

    /// Registers a client. Sleeps as `gfp` allows; fails with [`ENOMEM`].
    pub(crate) fn new_client(&self, gfp: Flags) -> Result<ClientId> {
        let node = self.reserve(gfp)?;
        let mut table = self.table.lock();
        let id = table.last_client.checked_add(1).ok_or(ENOSPC)?;
        table.last_client = id;
        table.clients.insert(node.into_node(ClientId(id), ()));
        Ok(ClientId(id))
    }

    /// Drops a client and its part in all pools. Fails with [`ENOENT`] if there is none such.
    // The driver's client stays; only tests have one that goes.
    #[cfg_attr(not(CONFIG_ZCACHE_KUNIT_TEST), allow(dead_code))]
    pub(crate) fn remove_client(&self, client: ClientId) -> Result {
        let node = self.table.lock().clients.remove_node(&client);
        // From here on the client gets no new pools.
        node.ok_or(ENOENT)?;
        loop {
            let pool = self.table.lock().any_pool_of(client);
            match pool {
                // An error means that somebody else was faster; it is gone either way.
                Some(pool) => drop(self.destroy_pool(client, pool)),
                None => return Ok(()),
            }
        }
    }

    /// Makes a pool for `client`, or lets it join the shared pool with that kind and name.
    ///
    /// Sleeps as `gfp` allows. Fails with [`ENOMEM`], or [`ENOENT`] if there is no such client.
    pub(crate) fn new_pool(
        &self,
        client: ClientId,
        kind: Kind,
        shared: Option<Uuid>,
        gfp: Flags,
    ) -> Result<PoolId> {
        let pool = Pool::new(kind, shared, gfp, &self.faults)?;
        let seat = self.reserve(gfp)?;
        let member = self.reserve(gfp)?;

        // Locked last, so unlocked before what turns out not to be needed is freed.
        let mut table = self.table.lock();
        if table.clients.get(&client).is_none() {
            return Err(ENOENT);
        }
        let id = match shared.and_then(|uuid| table.shared(kind, uuid)) {
            Some(id) => id,
            None => {
                let id = PoolId(table.last_pool.checked_add(1).ok_or(ENOSPC)?);
                table.last_pool = id.0;
                let empty = Seat {
                    pool,
                    label: Label::EMPTY,
                    members: 0,
                };
                let node = seat.into_node(id, empty);
                table.pools.insert(node);
                self.stats.pools.add(1);
                id
            }
        };
        if table.members.get(&(client, id)).is_none() {
            if let Some(seat) = table.pools.get_mut(&id) {
                seat.members += 1;
            }
            table.members.insert(member.into_node((client, id), ()));
        }
        Ok(id)
    }

    /// Says what the pages of a pool belong to. Does nothing if there is no such pool.
    pub(crate) fn label_pool(&self, pool: PoolId, label: Label) {
        if let Some(seat) = self.table.lock().pools.get_mut(&pool) {
            seat.label = label;
        }
    }

    /// Returns the pool with the lowest number above `id`. Does not sleep.
    pub(crate) fn pool_after(&self, id: PoolId) -> Option<PoolView> {
        let table = self.table.lock();
        let cursor = table
            .pools
            .cursor_lower_bound(&PoolId(id.0.checked_add(1)?))?;
        let (&id, Seat { pool, label, .. }) = cursor.current();
        Some(PoolView {
            id,
            kind: pool.kind,
            label: *label,
            pages: pool.pages(),
            puts: pool.puts.get(),
            gets: pool.gets.get(),
            hits: pool.hits.get(),
        })
    }

    /// Takes `client` out of a pool. If it was the last one, the pool and its pages go.
    ///
    /// May take long. A put that is under way stores nothing, a get that is under way still fills
    /// its page. Fails with [`ENOENT`] if `client` does not use such a pool.
    pub(crate) fn destroy_pool(&self, client: ClientId, pool: PoolId) -> Result {
        let mut gone = None;
        // Declared before the lock is taken: both nodes are freed after it is released.
        let _member;
        {
            let mut table = self.table.lock();
            _member = table.members.remove_node(&(client, pool)).ok_or(ENOENT)?;
            if let Some(seat) = table.pools.get_mut(&pool) {
                seat.members -= 1;
                if seat.members == 0 {
                    gone = table.pools.remove_node(&pool);
                }
            }
        }
        if let Some(node) = gone {
            let (_, seat) = node.to_key_value();
            self.drain(&seat.pool, pool);
            self.stats.pools.sub(1);
        }
        Ok(())
    }

    /// Drops all pages of all pools of a kind. The pools stay.
    ///
    /// May take long. The callers keep puts and gets off meanwhile; flushes need not be.
    pub(crate) fn empty_pools(&self, kind: Kind) {
        let mut last = PoolId(0);
        while let Some((id, pool)) = self.next_pool(last) {
            if pool.kind == kind {
                pool.empty(&self.stats, id, |handle, back| {
                    self.pam.free_entry(kind, handle, back)
                });
            }
            last = id;
        }
    }

    /// Finds the pool with the lowest number above `last`.
    fn next_pool(&self, last: PoolId) -> Option<(PoolId, Arc<Pool>)> {
        let table = self.table.lock();
        let cursor = table
            .pools
            .cursor_lower_bound(&PoolId(last.0.checked_add(1)?))?;
        let (&id, seat) = cursor.current();
        Some((id, seat.pool.clone()))
    }

    /// Stores a page of `group`, and drops the older one of that name first.
    ///
    /// Whatever fails, the older page is gone, because it is out of date. Index nodes are
    /// allocated with `gfp`; may sleep even if that does not, since [`Pam::create`] may. Errors:
    /// [`ENOENT`] no such pool, [`EFBIG`] index above 32 bits, [`ENOMEM`], or what the PAM says.
    pub(crate) fn put_of(
        &self,
        group: Group,
        pool: PoolId,
        oid: &Oid,
        index: u64,
        page: &PageBytes,
        gfp: Flags,
    ) -> Result {
        might_sleep();
        let id = pool;
        let pool = self.pool(id).ok_or(ENOENT)?;
        self.stats.puts.of(pool.kind).add(1);
        let create = |back| self.pam.create_of(group, pool.kind, page, back);
        self.put_into(&pool, id, oid, index, create, gfp)
            .inspect(|()| pool.puts.add(1))
            .inspect_err(|_| self.stats.failed_puts.of(pool.kind).add(1))
    }

    /// Like [`Tmem::put_of`], for a page that is nobody's.
    #[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
    pub(crate) fn put(
        &self,
        pool: PoolId,
        oid: &Oid,
        index: u64,
        page: &PageBytes,
        gfp: Flags,
    ) -> Result {
        self.put_of(Group::NONE, pool, oid, index, page, gfp)
    }

    fn put_into(
        &self,
        pool: &Pool,
        id: PoolId,
        oid: &Oid,
        index: u64,
        create: impl FnOnce(BackRef) -> Result<Handle>,
        gfp: Flags,
    ) -> Result {
        let index = u32::try_from(index).map_err(|_| EFBIG)?;
        let place = Place::new(id, oid, index);
        let mut spare = None;
        if let Some(old) = self.take(pool, &place) {
            self.pam.free_entry(pool.kind, old.handle, place.back());
            spare = old.node.map(RBTreeNode::into_reservation);
        }
        let handle = create(place.back())?;
        self.index(pool, &place, handle, true, spare, gfp)
    }

    /// Enters a page into the index, which then owns its reference; if that fails, frees it.
    ///
    /// If another page has come in meanwhile, `newest` tells which one stays.
    fn index(
        &self,
        pool: &Pool,
        place: &Place,
        handle: Handle,
        newest: bool,
        mut spare: Option<Spare>,
        gfp: Flags,
    ) -> Result {
        let (excess, result) = loop {
            match pool.insert(&self.stats, place, handle, newest, &mut spare) {
                Insert::Done(excess) => break (excess, Ok(())),
                Insert::Dead => break (Some(handle), Err(ENOENT)),
                Insert::NeedNode => match self.node(gfp) {
                    Ok(node) => spare = Some(node),
                    Err(e) => break (Some(handle), Err(e)),
                },
            }
        };
        if let Some(excess) = excess {
            self.pam.free_entry(pool.kind, excess, place.back());
        }
        result
    }

    /// Fetches a page: out of a private pool, a copy from a shared one.
    ///
    /// Returns [`ENOENT`] for a miss; `page` is as it was. [`EIO`] means that the data cannot be
    /// read; what `page` contains then is not defined. An ephemeral page is dropped in that case,
    /// so that the next get misses. A persistent one stays, so that every get fails until it is
    /// flushed: a miss would send the reader to older data on the swap device. May sleep.
    pub(crate) fn get(&self, pool: PoolId, oid: &Oid, index: u64, page: &mut PageBytes) -> Result {
        might_sleep();
        let id = pool;
        let pool = self.pool(id).ok_or(ENOENT)?;
        self.stats.gets.of(pool.kind).add(1);
        pool.gets.add(1);
        let index = u32::try_from(index).map_err(|_| ENOENT)?;
        let place = Place::new(id, oid, index);
        let filled = if pool.shared.is_some() {
            self.get_shared(&pool, &place, page)?
        } else {
            self.get_private(&pool, &place, page)?
        };
        if !filled {
            self.stats.failed_gets.of(pool.kind).add(1);
            return Err(EIO);
        }
        self.stats.hits.of(pool.kind).add(1);
        pool.hits.add(1);
        self.pam.hit(pool.kind, place.back());
        Ok(())
    }

    /// Takes a page out of a private pool although nobody asked for it.
    ///
    /// As [`Self::get`], but none of the counters of gets. May sleep.
    pub(crate) fn evict(
        &self,
        pool: PoolId,
        oid: &Oid,
        index: u64,
        page: &mut PageBytes,
    ) -> Result {
        might_sleep();
        let index = u32::try_from(index).map_err(|_| ENOENT)?;
        let place = Place::new(pool, oid, index);
        let pool = self.pool(pool).ok_or(ENOENT)?;
        match self.get_private(&pool, &place, page)? {
            true => Ok(()),
            false => Err(EIO),
        }
    }

    /// Takes a page out and reads it; returns whether that worked. Fails if there is no page.
    fn get_private(&self, pool: &Pool, place: &Place, page: &mut PageBytes) -> Result<bool> {
        let Taken { handle, node } = self.take(pool, place).ok_or(ENOENT)?;
        let filled = self.pam.get_data(pool.kind, handle, page).is_ok();
        if !filled && pool.kind == Kind::Persistent {
            // Back to where it was, with the node that it left, unless a newer page is there.
            // There is need of another node only if all its neighbours were flushed meanwhile.
            let spare = node.map(RBTreeNode::into_reservation);
            let _ = self.index(pool, place, handle, false, spare, GFP_KERNEL);
        } else {
            self.pam.free_entry(pool.kind, handle, place.back());
            if let Some(node) = node {
                self.keep(node.into_reservation());
            }
        }
        Ok(filled)
    }

    /// Like `get_private`, but leaves the page, and reads it under a reference of its own.
    fn get_shared(&self, pool: &Pool, place: &Place, page: &mut PageBytes) -> Result<bool> {
        if pool.is_empty() {
            return Err(ENOENT);
        }
        let hold = |handle| self.pam.get_ref(pool.kind, handle);
        let handle = match pool.find(place, hold).ok_or(ENOENT)? {
            Ok(handle) => handle,
            // It could be had later, so it stays; but only an ephemeral page may be missed.
            Err(_) if pool.kind == Kind::Ephemeral => return Err(ENOENT),
            Err(_) => return Ok(false),
        };
        let filled = self.pam.get_data(pool.kind, handle, page).is_ok();
        if !filled && pool.kind == Kind::Ephemeral {
            if let Some(taken) = pool.take(&self.stats, place, Some(handle)) {
                self.pam.free_entry(pool.kind, taken.handle, place.back());
            }
        }
        self.pam.free(pool.kind, handle);
        Ok(filled)
    }

    /// Drops a page; returns whether it was there. Any context but an interrupt.
    pub(crate) fn flush_page(&self, pool: PoolId, oid: &Oid, index: u64) -> bool {
        self.stats.flush_total.add(1);
        let id = pool;
        let Some(pool) = self.pool(id) else {
            return false;
        };
        let Ok(index) = u32::try_from(index) else {
            return false;
        };
        let place = Place::new(id, oid, index);
        let Some(taken) = self.take(&pool, &place) else {
            return false;
        };
        self.pam.free_entry(pool.kind, taken.handle, place.back());
        self.stats.flush_found.add(1);
        true
    }

    /// Drops the pages of an object in a range of indices; returns how many there were.
    ///
    /// Any context but an interrupt. Locks once for each 16 indices that have pages.
    pub(crate) fn flush_range(&self, pool: PoolId, oid: &Oid, range: RangeInclusive<u64>) -> u64 {
        self.stats.flrange_total.add(1);
        let pages = self.flush(pool, oid, range);
        self.stats.flrange_pages.add(pages);
        pages
    }

    /// Drops all pages of an object; returns how many there were. Contexts as `flush_range`.
    pub(crate) fn flush_object(&self, pool: PoolId, oid: &Oid) -> u64 {
        self.stats.flobj_total.add(1);
        let pages = self.flush(pool, oid, 0..=u64::MAX);
        if pages != 0 {
            self.stats.flobj_found.add(1);
            self.stats.flobj_pages.add(pages);
        }
        pages
    }

    fn flush(&self, pool: PoolId, oid: &Oid, range: RangeInclusive<u64>) -> u64 {
        let id = pool;
        let Some((pool, first, last)) = self.span(id, range) else {
            return 0;
        };
        let mut pages = 0;
        let mut from = Place::new(id, oid, first).key;
        // The lock is free again when the pages and the node of each chunk are freed.
        while let Some((chunk, _node)) = pool.take_chunk(&self.stats, &mut from, first, last) {
            for (slot, handle) in chunk.iter() {
                // `take_chunk` has moved on by one.
                let back = from.back_before(id, slot);
                self.pam.free_entry(pool.kind, handle, back);
                pages += 1;
            }
        }
        pages
    }

    /// Returns whether an object has a page in a range of indices. Contexts as `flush_range`.
    pub(crate) fn has_pages(&self, pool: PoolId, oid: &Oid, range: RangeInclusive<u64>) -> bool {
        let id = pool;
        self.span(id, range).is_some_and(|(pool, first, last)| {
            pool.has_pages(Place::new(id, oid, first).key, first, last)
        })
    }

    /// Drops the index entry of a page that its PAM wants to evict.
    ///
    /// True means that the entry was there and held this very page; its reference now belongs to
    /// the caller. False means that the page is not in the index (yet, or any more) and that its
    /// reference belongs to somebody else, who will give it back. Any context but an interrupt;
    /// the caller keeps `handle` from being reused meanwhile.
    pub(crate) fn forget(&self, back: BackRef, handle: Handle) -> bool {
        let Some(pool) = self.pool(back.pool) else {
            return false;
        };
        let taken = pool.take_hashed(&self.stats, back, handle);
        taken.is_some()
    }

    /// Finds a pool.
    fn pool(&self, id: PoolId) -> Option<Arc<Pool>> {
        let table = self.table.lock();
        table.pools.get(&id).map(|seat| seat.pool.clone())
    }

    /// Takes a page out of a pool that may well be empty.
    fn take(&self, pool: &Pool, place: &Place) -> Option<Taken> {
        if pool.is_empty() {
            return None;
        }
        pool.take(&self.stats, place, None)
    }

    /// Finds a pool that has pages, and what of `range` it can have.
    fn span(&self, pool: PoolId, range: RangeInclusive<u64>) -> Option<(Arc<Pool>, u32, u32)> {
        if range.is_empty() {
            return None;
        }
        let first = u32::try_from(*range.start()).ok()?;
        let last = u32::try_from(*range.end()).unwrap_or(u32::MAX);
        let pool = self.pool(pool).filter(|pool| !pool.is_empty())?;
        Some((pool, first, last))
    }

    /// Drops all pages of a pool, and keeps it empty from now on.
    fn drain(&self, pool: &Pool, id: PoolId) {
        pool.drain(&self.stats, id, |handle, back| {
            self.pam.free_entry(pool.kind, handle, back)
        });
    }

    /// Allocates a tree node.
    fn reserve<K, V>(&self, gfp: Flags) -> Result<RBTreeNodeReservation<K, V>> {
        self.faults.check()?;
        RBTreeNodeReservation::new(gfp)
    }
}

#[pinned_drop]
impl<P: Pam> PinnedDrop for Tmem<P> {
    fn drop(self: Pin<&mut Self>) {
        let pools = mem::take(&mut self.table.lock().pools);
        for (id, seat) in &pools {
            self.drain(&seat.pool, *id);
        }
    }
}

/// Lets a test make one allocation of the core fail; costs nothing without the tests.
#[derive(Default)]
struct Faults {
    /// Allocations until the one that fails; zero for none.
    #[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
    left: self::stats::Number,
}

impl Faults {
    /// Called before each allocation.
    #[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
    fn check(&self) -> Result {
        match self.left.get() {
            0 => Ok(()),
            left => {
                self.left.sub(1);
                if left == 1 {
                    return Err(ENOMEM);
                }
                Ok(())
            }
        }
    }

    #[cfg(not(CONFIG_ZCACHE_KUNIT_TEST))]
    fn check(&self) -> Result {
        Ok(())
    }
}
