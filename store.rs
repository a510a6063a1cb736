// SPDX-License-Identifier: GPL-2.0

//! The PAM below tmem: finds a form and a place for each page.
//!
//! ```text
//! page --same word throughout?--> the handle itself
//!      --equal to one that is here?--> a part in its bud (`dedup.rs`)
//!      --LZO1X--> zbud
//! ```
//!
//! That is the ephemeral side. Persistent pages have their own, in `persistent.rs`: tmem says which
//! with each call, so handles of one never reach the other.
//!
//! Order for a put: what is known of its file, an equal page, then room (a frame is allocated, or
//! old pages leave), then the codec's workspace, then the copy. So nothing allocates or evicts
//! while a workspace is held, and a page that has nowhere to go is not compressed at all. One of a
//! file whose pages do not shrink (`poor.rs`) or are not wanted again (`stream.rs`) is not even
//! looked at: its bytes are in memory, not in the processor's cache, and to wait for the first of
//! them was a quarter of what zcache took for such a put (perf, on a guest of user-mode Linux).
//! Which pages may push out others is for `policy.rs` and `history.rs` to say.

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

use crate::{
    clusters::{
        Clusters,
        Fate, //
    },
    codec::{
        self,
        Codec, //
    },
    dedup::{
        Copies,
        Dedup,
        Mode,
        Name,
        Prepared, //
    },
    history::History,
    persistent::Persistent,
    policy::{
        self,
        Percent,
        Policy, //
    },
    poor::Poor,
    stream::Streams,
    task,
    timing::{
        Timer,
        Times, //
    },
    tmem::{
        BackRef,
        Group,
        Handle,
        Kind,
        PageBytes,
        Pam,
        PoolId, //
    },
    trace::{
        self,
        Evict, //
    },
    trial,
    zbud::{
        self,
        Bud,
        Budget,
        NoFrame,
        Reservation,
        Zbud, //
    },
};

/// A hole shorter than this, in bytes, is not worth compressing a page for.
///
/// One in ten pages of programs compresses to less than about 1.2 KiB, of text to less than 1.5;
/// of the memory of processes, one in ten to less than half a KiB.
const MIN_HOLE: usize = 1024;

/// Frames that whoever lowers a limit evicts before it lets others run. Twice what reclaim takes
/// at a time.
const BATCH: usize = 64;

/// Shared pages in a row that one eviction passes by. The next one goes, shared or not: zbud tries
/// eight frames, and one of them is to be won.
const SPARED_IN_A_ROW: u32 = 4;

/// The page behind this one in its file, if it does not end here.
fn next(page: BackRef) -> BackRef {
    BackRef {
        index: page.index.wrapping_add(1),
        ..page
    }
}

/// What a handle says.
enum Form {
    /// The page repeats this word.
    Same(u32),
    /// The page is a stream in zbud, and its own or equal to others: then this is the name of what
    /// is known of their content.
    Bud(Bud, Option<Name>),
}

impl Form {
    fn handle(self) -> Handle {
        Handle(match self {
            Form::Same(word) => u64::from(word) << 1 | 1,
            Form::Bud(bud, name) => {
                u64::from(bud.to_raw()) << 1 | u64::from(name.map_or(0, Name::to_raw)) << 33
            }
        })
    }

    fn of(handle: Handle) -> Self {
        // CAST: The 32 bits above the lowest.
        let value = (handle.0 >> 1) as u32;
        if handle.0 & 1 == 1 {
            Form::Same(value)
        } else {
            // CAST: What is left are 31 bits.
            Form::Bud(
                Bud::from_raw(value),
                Name::from_raw((handle.0 >> 33) as u32),
            )
        }
    }
}

/// Whose a bud is, in the 16 bytes that zbud keeps with it.
#[derive(Clone, Copy)]
struct Owner {
    /// The index entry that it was made for. Where others share the bud, this one may be gone: it
    /// is good for a question to the history, no more.
    first: BackRef,
    /// The descriptor that knows all entries, if there is one.
    content: Option<Name>,
}

impl Owner {
    /// Pools have numbers below this one. They are given out one by one, to filesystems that are
    /// mounted.
    const POOLS: u64 = 1 << 32;

    fn back(self) -> BackRef {
        let name = u64::from(self.content.map_or(0, Name::to_raw));
        BackRef {
            pool: PoolId(self.first.pool.0 | name << 32),
            ..self.first
        }
    }

    fn of(back: BackRef) -> Self {
        Self {
            first: BackRef {
                pool: PoolId(back.pool.0 % Self::POOLS),
                ..back
            },
            // CAST: The upper half.
            content: Name::from_raw((back.pool.0 >> 32) as u32),
        }
    }
}

/// Why a page of a file is not even looked at.
enum Unwanted {
    /// Others of its file did not shrink.
    Poor,
    /// Its file streams through.
    Streams,
}

/// Where a page may go.
struct Room<'a> {
    /// A frame. Without one, only a hole will do.
    frame: Option<Reservation<'a>>,
    /// The longest stream that may go there, in bytes.
    limit: usize,
    /// What the page follows.
    fate: Option<Fate>,
    /// It may push out others.
    wins: bool,
    /// Why there is no frame that nobody has to be pushed out of, if so.
    lack: Option<NoFrame>,
}

impl Room<'_> {
    /// Are all frames taken that are allowed, or the last ones?
    fn is_full(&self) -> bool {
        match self.lack {
            Some(lack) => lack == NoFrame::Limit,
            None => self.limit < zbud::MAX_BUD,
        }
    }
}

/// Counts since boot, unless said otherwise.
#[derive(Default)]
pub(crate) struct Stats {
    /// Pages that repeat a word, now.
    pub(crate) same_filled: Count,
    /// Pages refused because they did not shrink enough.
    pub(crate) poor: Count,
    /// Pages refused because there was no room.
    pub(crate) full: Count,
    /// Those of them that were not seen before, and were not even compressed.
    pub(crate) unseen: Count,
    /// Those of them whose neighbours were refused just before.
    pub(crate) neighbours: Count,
    /// Pages refused because their file's pages do not shrink.
    pub(crate) poor_file: Count,
    /// Pages refused because their file streams through.
    pub(crate) stream: Count,
    /// Pages that took the place of pages seen less often.
    pub(crate) outdone: Count,
    /// Pages that could not be read back.
    pub(crate) corrupt: Count,
}

/// How long puts of ephemeral pages took, from here down; see [`Times`].
pub(crate) struct PutTimes {
    /// Those whose content was here.
    pub(crate) found: Times,
    /// Those that were compressed and stored.
    pub(crate) stored: Times,
    /// What deduplication took of `stored`, with all that comes before, as both wait for memory at
    /// the same time, and three times to look at the clock in it.
    pub(crate) missed: Times,
    /// To look at the clock.
    pub(crate) nothing: Times,
}

/// A number that goes up and down.
pub(crate) struct Count(Atomic<u64>);

impl Default for Count {
    fn default() -> Self {
        Self::new()
    }
}

impl Count {
    /// Zero.
    pub(crate) const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// The number now.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Adds to it.
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    /// Takes from it.
    pub(crate) fn sub(&self, less: u64) {
        self.0.fetch_sub(less, Relaxed);
    }
}

/// Asks the index to let go of a page; see [`Tmem::forget`](crate::tmem::Tmem::forget).
type Forget = fn(BackRef, Handle) -> bool;

/// Pages the size of the system's page cache, to compare zcache's share with.
type FilePages = fn() -> usize;

/// Which pages may share a copy, now.
type DedupMode = fn() -> Mode;

/// The PAM.
#[pin_data]
pub(crate) struct Store {
    codec: Codec,
    dedup: Dedup,
    dedup_mode: DedupMode,
    #[pin]
    zbud: Zbud,
    #[pin]
    persistent: Persistent,
    policy: Policy,
    history: History,
    poor: Poor,
    streams: Streams,
    clusters: Clusters,
    stats: Stats,
    times: PutTimes,
    forget: Forget,
    file_pages: FilePages,
}

impl Store {
    /// An empty store. Allocates the codec's workspaces; may sleep.
    pub(crate) fn new(
        policy: Policy,
        forget: Forget,
        file_pages: FilePages,
        dedup_mode: DedupMode,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            codec: Codec::new()?,
            dedup: Dedup::new(policy.limit())?,
            dedup_mode,
            zbud <- Zbud::new(policy.limit()),
            persistent <- Persistent::new(policy.ram(), policy.persistent_limit()),
            history: History::new(policy.ram())?,
            poor: Poor::new()?,
            streams: Streams::new()?,
            clusters: Clusters::new()?,
            policy,
            stats: Stats::default(),
            times: PutTimes {
                found: Times::new(),
                stored: Times::new(),
                missed: Times::new(),
                nothing: Times::new(),
            },
            forget,
            file_pages,
        })
    }

    /// The allocator of ephemeral pages, for its counters.
    pub(crate) fn zbud(&self) -> &Zbud {
        &self.zbud
    }

    /// What is known of equal pages, for its counters.
    pub(crate) fn dedup(&self) -> &Dedup {
        &self.dedup
    }

    /// The persistent side, for its counters, and to allocate ahead for it.
    pub(crate) fn persistent(&self) -> &Persistent {
        &self.persistent
    }

    /// The counters.
    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// How long puts took.
    #[cfg(CONFIG_ZCACHE_TIMING)]
    pub(crate) fn times(&self) -> &PutTimes {
        &self.times
    }

    /// Memory besides the frames, in bytes.
    pub(crate) fn metadata_bytes(&self) -> usize {
        self.zbud.metadata_bytes()
            + self.dedup.metadata_bytes()
            + self.persistent.xvmalloc().metadata_bytes()
            + self.codec.bytes()
            + self.history.bytes()
            + self.poor.bytes()
            + self.streams.bytes()
            + self.clusters.bytes()
    }

    /// The most frames allowed for ephemeral pages.
    pub(crate) fn limit(&self) -> usize {
        self.policy.limit()
    }

    /// The most frames allowed on both sides.
    pub(crate) fn together(&self) -> usize {
        self.policy.together()
    }

    /// Changes the limits, for those who come from now on, and brings what is held down to them as
    /// far as it goes.
    ///
    /// It is the caller who works for that, in pieces of [`BATCH`] frames: it moves persistent
    /// pages together, and evicts the oldest ephemeral ones. If a signal tells it to stop, or pages
    /// are in use, the rest goes with the next puts that find the store full, and is offered to the
    /// shrinker. Persistent pages stay until they are wanted: their side takes nothing meanwhile.
    ///
    /// To be called by one at a time. May sleep. Fails with [`ENOMEM`] if the tables cannot be made
    /// larger, and no limit has changed then. What the tables have become they stay.
    pub(crate) fn set_percent(&self, percent: Percent) -> Result {
        let new = Policy::new(self.policy.ram(), percent);
        self.dedup.enlarge(new.limit())?;
        self.zbud.enlarge(new.limit())?;
        self.persistent.set_limit(new.persistent_limit())?;
        self.policy.set_percent(percent);
        self.settle();
        Ok(())
    }

    /// Brings what is held down to the limits.
    fn settle(&self) {
        while self.persistent.over() > 0 {
            let moved = self.persistent.shrink(self.persistent.over().min(BATCH));
            if moved == 0 {
                break;
            }
            if !task::give_way() {
                return;
            }
        }
        loop {
            let beside = self.policy.beside(self.persistent.xvmalloc().frames());
            let limit = self.policy.limit().min(beside);
            self.zbud.set_limit(limit);
            if self.zbud.frames() > limit {
                self.zbud.drop_spares();
            }
            let over = self.zbud.frames().saturating_sub(limit).min(BATCH);
            let eviction = Eviction::of(self, Evict::Pressure);
            if over == 0 || self.zbud.shrink(over, eviction).frames == 0 || !task::give_way() {
                return;
            }
        }
    }

    /// Frames held now, on both sides. Takes no lock.
    pub(crate) fn frames(&self) -> usize {
        self.zbud.frames() + self.persistent.xvmalloc().frames()
    }

    /// The most frames ever held on either side, added up.
    pub(crate) fn frames_max(&self) -> usize {
        self.zbud.frames_max() + self.persistent.xvmalloc().frames_max()
    }

    /// Frames that are allowed now.
    pub(crate) fn allowed(&self) -> usize {
        let beside = self.policy.beside(self.persistent.xvmalloc().frames());
        self.policy.allowed((self.file_pages)()).min(beside)
    }

    /// Frames that should go when memory is short. No side effects; does not sleep.
    pub(crate) fn surplus(&self) -> usize {
        self.zbud.frames().saturating_sub(self.allowed()) + self.persistent.surplus()
    }

    /// Makes `frames` free, and returns how many are: by moving persistent pages together, which
    /// loses nothing, and then by eviction. Does not sleep or allocate.
    pub(crate) fn shrink(&self, frames: usize) -> usize {
        self.give_back(frames, Evict::Pressure)
    }

    /// Makes all frames free that can be, before somebody is killed for memory. Like
    /// [`Store::shrink`].
    pub(crate) fn relieve(&self) -> usize {
        self.give_back(usize::MAX, Evict::Oom)
    }

    /// Gives frames back that hold nothing. Does not sleep.
    pub(crate) fn drop_spares(&self) {
        self.zbud.drop_spares();
    }

    fn give_back(&self, frames: usize, reason: Evict) -> usize {
        self.zbud.drop_spares();
        let moved = self.persistent.shrink(frames);
        let evicted = self.zbud.shrink(frames - moved, Eviction::of(self, reason));
        moved + evicted.frames
    }

    /// Pages without a frame that may be here: a few, against the pages with one.
    ///
    /// In a Debian root one page in 250 repeats a word.
    fn same_filled_limit(&self) -> u64 {
        // CAST: A `usize` fits 64 bits.
        (self.policy.limit() / 16) as u64
    }

    /// Allocates frames for puts to come. To be called by readers: when a page has to leave, it is
    /// because memory is exhausted, and frames for it can hardly be had.
    pub(crate) fn top_up(&self) {
        let ahead = policy::ahead(self.allowed());
        self.zbud.top_up(ahead, ahead, policy::put_flags());
    }

    /// Do neighbours share their fate?
    fn in_clusters(&self) -> bool {
        !self.policy.admits_all() && !trial::by_page()
    }

    /// What a page that was put `before` times of late has to follow.
    fn fate(&self, back: BackRef, before: u8) -> Option<Fate> {
        if !self.in_clusters() {
            return None;
        }
        self.clusters.fate(back, before, self.history.puts())
    }

    /// Notes what its neighbours have to follow.
    fn set_fate(&self, back: BackRef, before: u8, fate: Fate) {
        if self.in_clusters() {
            self.clusters.note(back, before, self.history.puts(), fate);
        }
    }

    /// The store is full: shall a page that was put `before` times of late push out others?
    fn replaces(&self, before: u8, fate: Option<Fate>) -> bool {
        if self.policy.admits_all() || fate == Some(Fate::Wins) {
            return true;
        }
        // Of those that share a copy, the one that came first stands for all, even if it is gone.
        // To ask for one that is there would take the lock of its descriptor.
        let wins = before > 0
            && self
                .zbud
                .oldest_is(|owner| self.history.count(Owner::of(owner).first) < before);
        if wins {
            self.stats.outdone.add(1);
        }
        wins || fate.is_none() && self.policy.replaces()
    }

    /// Where a page of `group` may go that was put `before` times of late.
    fn room(&self, group: Group, before: u8, fate: Option<Fate>) -> Room<'_> {
        let allowed = self.allowed();
        let budget = Budget {
            limit: allowed,
            keep: policy::keep(allowed),
            ahead: policy::ahead(allowed),
        };
        let reserved = self.zbud.reserve_within(budget, policy::put_flags());
        let lack = reserved.as_ref().err().copied();
        // Where the system is short of a frame, the next page may well get one: each tries.
        let fate = fate.filter(|_| lack != Some(NoFrame::Memory));
        let wins = lack.is_some() && self.replaces(before, fate);
        let evict = || {
            let eviction = Eviction::of(self, Evict::Room).wanted_for(group);
            self.zbud.reserve_oldest(eviction)
        };
        let frame = reserved.ok().or_else(|| wins.then(evict).flatten());
        let limit = match &frame {
            Some(_) if fate.is_some() => zbud::MAX_BUD,
            Some(frame) => self.policy.longest(frame.used(), allowed, zbud::MAX_BUD),
            None => self.zbud.room(),
        };
        Room {
            frame,
            limit,
            fate,
            wins,
            lack,
        }
    }

    /// Stores a page of a file.
    ///
    /// Fails with [`E2BIG`] if it does not shrink enough, with [`EPERM`] if others of its file do
    /// not, with [`ENOSPC`] if there is no room, and with [`EAGAIN`] if it was not even tried
    /// because of that, as it was not put before or its neighbours were refused, or because its
    /// file streams through, as it was not put before.
    fn create_ephemeral(&self, group: Group, page: &PageBytes, back: BackRef) -> Result<Form> {
        if back.pool.0 >= Owner::POOLS {
            self.stats.full.add(1);
            return Err(ENOSPC);
        }
        let flags = policy::put_flags();
        let timer = Timer::start();
        let mode = (self.dedup_mode)();
        let unwanted = self.unwanted(back);
        if unwanted.is_none() {
            // Before the history, which is in memory too.
            self.dedup.read_ahead(mode, page);
        }
        let before = self.history.put(back);
        if let Some(unwanted) = unwanted {
            self.refuse(unwanted, back, before)?;
        }
        if let Some(word) = codec::same_filled(page) {
            self.poor.note(back, true);
            return self.create_same(word);
        }
        let hash = self.dedup.hash(mode, page, back);
        // Before the search, for which memory is read since the hash is known.
        let fate = self.fate(back, before);
        if let Some(hash) = hash {
            if let Some((name, copy)) = self.dedup.find(self, hash, page, flags) {
                // Its equal did shrink.
                self.poor.note(back, true);
                self.times.found.add(timer.elapsed());
                self.times.nothing.add(Timer::start().elapsed());
                return Ok(Form::Bud(Bud::from_raw(copy), Some(name)));
            }
        }
        let mut missed = timer.elapsed();
        let prepare = || {
            // As often as this without a hash, so that both can be compared.
            let timer = Timer::start();
            let prepared = hash.and_then(|hash| self.dedup.prepare(hash, flags));
            missed += timer.elapsed();
            prepared
        };
        let (bud, prepared) = self.create_bud(group, page, back, before, fate, prepare)?;
        let publishing = Timer::start();
        let name = prepared.map(|prepared| {
            let name = prepared.name();
            prepared.publish(bud.to_raw());
            name
        });
        self.times.missed.add(missed + publishing.elapsed());
        self.times.stored.add(timer.elapsed());
        self.times.nothing.add(Timer::start().elapsed());
        Ok(Form::Bud(bud, name))
    }

    /// Stores a page that repeats a word. Fails with [`ENOSPC`].
    fn create_same(&self, word: u32) -> Result<Form> {
        // They take no frame, but nothing evicts them, and their index entries keep inodes.
        if self.stats.same_filled.get() >= self.same_filled_limit() {
            self.stats.full.add(1);
            return Err(ENOSPC);
        }
        self.stats.same_filled.add(1);
        Ok(Form::Same(word))
    }

    /// What speaks against a page, by what is known of its file.
    fn unwanted(&self, back: BackRef) -> Option<Unwanted> {
        if self.policy.admits_all() {
            None
        } else if self.poor.refuses(back) {
            Some(Unwanted::Poor)
        } else {
            let streams = self.streams.refuses(back, self.policy.stream());
            streams.then_some(Unwanted::Streams)
        }
    }

    /// Refuses a page that was put `before` times of late, unless that speaks for it.
    ///
    /// Errors as [`Store::create_ephemeral`].
    fn refuse(&self, unwanted: Unwanted, back: BackRef, before: u8) -> Result {
        match unwanted {
            Unwanted::Poor => {
                self.stats.poor_file.add(1);
                Err(EPERM)
            }
            // Of a file that streams, the history takes one page in a hundred for one that was put
            // before. In a second round so was the page behind it, which in the first has yet to
            // come.
            Unwanted::Streams if before > 0 && self.history.count(next(back)) > 0 => Ok(()),
            Unwanted::Streams => {
                self.stats.stream.add(1);
                Err(EAGAIN)
            }
        }
    }

    /// Compresses a page that was put `before` times of late and has to follow `fate`, if it may go
    /// anywhere.
    fn create_bud<'a>(
        &self,
        group: Group,
        page: &PageBytes,
        back: BackRef,
        before: u8,
        fate: Option<Fate>,
        prepare: impl FnOnce() -> Option<Prepared<'a>>,
    ) -> Result<(Bud, Option<Prepared<'a>>)> {
        if fate == Some(Fate::Loses) {
            self.stats.neighbours.add(1);
            self.stats.full.add(1);
            return Err(EAGAIN);
        }
        let room = self.room(group, before, fate);
        let (fate, wins, full) = (room.fate, room.wins, room.is_full());
        let short = room.lack == Some(NoFrame::Memory);
        let new = before == 0;
        let chance = new && room.frame.is_none() && fate.is_none();
        let created = if chance && !self.policy.holes().allows() {
            self.stats.unseen.add(1);
            self.stats.full.add(1);
            Err(EAGAIN)
        } else if room.limit < MIN_HOLE {
            self.stats.full.add(1);
            Err(ENOSPC)
        } else {
            let created = self.create_within(room, group, page, back, prepare);
            if chance {
                self.policy.holes().note(created.is_ok());
            }
            created
        };
        if new && created.is_ok() {
            self.streams.stored(back);
        }
        let verdict = match &created {
            _ if short || fate == Some(Fate::Wins) => None,
            // Also if its own stream is too long.
            _ if wins => Some(Fate::Wins),
            Ok(_) if fate.is_none() => Some(Fate::Stays),
            Err(error) if full && *error != E2BIG => Some(Fate::Loses),
            _ => None,
        };
        if let Some(verdict) = verdict {
            self.set_fate(back, before, verdict);
        }
        created
    }

    /// Compresses a page that may go to `room`. It will belong to the descriptor that `prepare`
    /// makes, if it does.
    ///
    /// That descriptor has no copy until it is published: nobody finds it, and eviction gives up on
    /// a bud that it comes upon early.
    fn create_within<'a>(
        &self,
        room: Room<'_>,
        group: Group,
        page: &PageBytes,
        back: BackRef,
        prepare: impl FnOnce() -> Option<Prepared<'a>>,
    ) -> Result<(Bud, Option<Prepared<'a>>)> {
        let Room { frame, limit, .. } = room;
        let prepared = prepare();
        let owner = Owner {
            first: back,
            content: prepared.as_ref().map(Prepared::name),
        };
        let owner = owner.back();
        let created = self.codec.compress(page, limit, |stream| match frame {
            Some(frame) => frame.create_of(group, stream, owner),
            None => self.zbud.create_of(group, stream, owner),
        });
        let stored = matches!(created, Some(Ok(_)));
        if stored || limit == zbud::MAX_BUD {
            self.poor.note(back, created.is_some());
        }
        match created {
            Some(Ok(bud)) => Ok((bud, prepared)),
            // Too long for a frame of its own, or for any hole.
            None if limit == zbud::MAX_BUD => {
                self.stats.poor.add(1);
                Err(E2BIG)
            }
            // Too long for what was left, or another put was faster.
            _ => {
                self.stats.full.add(1);
                Err(ENOSPC)
            }
        }
    }
}

impl Pam for Store {
    fn create(&self, kind: Kind, page: &PageBytes, back: BackRef) -> Result<Handle> {
        self.create_of(Group::NONE, kind, page, back)
    }

    fn create_of(
        &self,
        group: Group,
        kind: Kind,
        page: &PageBytes,
        back: BackRef,
    ) -> Result<Handle> {
        if kind == Kind::Persistent {
            let crowd = self.frames() >= self.policy.together();
            return self.persistent.create(&self.codec, page, crowd, || {
                let eviction = Eviction::of(self, Evict::Swap).wanted_for(group);
                self.zbud.take_frame(eviction)
            });
        }
        self.create_ephemeral(group, page, back).map(Form::handle)
    }

    fn get_ref(&self, kind: Kind, handle: Handle) -> Result {
        if kind == Kind::Persistent {
            return self.persistent.get_ref(handle);
        }
        match Form::of(handle) {
            Form::Same(_) => {
                // A copy of the handle is a copy of the page.
                self.stats.same_filled.add(1);
                Ok(())
            }
            Form::Bud(bud, _) => self.zbud.get_ref(bud),
        }
    }

    fn get_data(&self, kind: Kind, handle: Handle, page: &mut PageBytes) -> Result {
        if kind == Kind::Persistent {
            return self.persistent.get_data(&self.codec, handle, page);
        }
        match Form::of(handle) {
            Form::Same(word) => {
                codec::fill(page, word);
                Ok(())
            }
            Form::Bud(bud, _) => self
                .zbud
                .with_data(bud, |stream| codec::decompress(stream, page))
                .and_then(|decompressed| decompressed)
                .inspect_err(|_| self.stats.corrupt.add(1)),
        }
    }

    fn free(&self, kind: Kind, handle: Handle) {
        if kind == Kind::Persistent {
            return self.persistent.free(handle);
        }
        match Form::of(handle) {
            Form::Same(_) => self.stats.same_filled.sub(1),
            // One of `get_ref`'s, which are zbud's whether or not the bud is shared.
            Form::Bud(bud, _) => self.zbud.free(bud),
        }
    }

    fn free_entry(&self, kind: Kind, handle: Handle, back: BackRef) {
        if kind == Kind::Persistent {
            return self.persistent.free(handle);
        }
        match Form::of(handle) {
            Form::Bud(bud, Some(name)) => {
                if self.dedup.leave(name, bud.to_raw(), back) {
                    self.zbud.free(bud);
                }
            }
            _ => self.free(kind, handle),
        }
    }

    fn hit(&self, kind: Kind, back: BackRef) {
        if kind == Kind::Ephemeral {
            self.streams.hit(back);
        }
    }
}

impl Copies for Store {
    fn equals(&self, copy: u32, page: &PageBytes) -> bool {
        self.zbud
            .with_data(Bud::from_raw(copy), |stream| codec::equals(stream, page))
            .unwrap_or(false)
    }

    fn free_copy(&self, copy: u32) {
        self.zbud.free(Bud::from_raw(copy));
    }
}

/// One call of zbud to evict.
struct Eviction<'a> {
    store: &'a Store,
    /// Why, for those who trace it.
    reason: Evict,
    /// For whose page, if it is for one.
    wanted_for: Option<Group>,
    /// Shared pages passed by since the last one that went.
    in_a_row: u32,
}

impl<'a> Eviction<'a> {
    fn of(store: &'a Store, reason: Evict) -> Self {
        Self {
            store,
            reason,
            wanted_for: None,
            in_a_row: 0,
        }
    }

    fn wanted_for(self, group: Group) -> Self {
        Self {
            wanted_for: Some(group),
            ..self
        }
    }
}

impl zbud::Forget for Eviction<'_> {
    fn wanted_for(&self) -> Option<Group> {
        self.wanted_for
    }

    fn spares(&mut self, back: BackRef, bud: Bud) -> bool {
        let Some(name) = Owner::of(back).content else {
            return false;
        };
        if self.in_a_row >= SPARED_IN_A_ROW || !self.store.dedup.spares(name, bud.to_raw()) {
            return false;
        }
        self.in_a_row += 1;
        true
    }

    fn forget(&mut self, back: BackRef, bud: Bud) -> bool {
        let reason = self.reason;
        let forget = |back: BackRef, handle| {
            let gone = (self.store.forget)(back, handle);
            if gone {
                trace::evict(back.pool.0, back.hash, back.index, reason);
            }
            gone
        };
        let Owner { first, content } = Owner::of(back);
        let gone = match content {
            None => forget(first, Form::Bud(bud, None).handle()),
            Some(name) => self.store.dedup.evict(name, bud.to_raw(), |back| {
                forget(back, Form::Bud(bud, Some(name)).handle())
            }),
        };
        if gone {
            self.in_a_row = 0;
        }
        gone
    }
}

#[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
mod shared_tests;

#[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
mod admission_tests;

#[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
mod limit_tests;

#[cfg(all(CONFIG_ZCACHE_KUNIT_TEST, not(CONFIG_SMP)))]
mod reclaimable_tests;

#[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
mod tests;
