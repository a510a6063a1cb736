// SPDX-License-Identifier: GPL-2.0

//! Who owns a stored page: the protocol between `tmem.rs` and `zbud.rs`, small enough for loom.
//!
//! UML has one CPU and races nothing, so the driver's own tests cannot see a wrong order of steps.
//! loom runs the same steps in every order that the memory model allows. The model has the locks
//! of the driver and the same steps between them:
//!
//! - [`Index`]: one bucket of one pool. An entry owns one reference to a bud.
//! - [`Lists`]: frames of two buds each, with reference counts and pins, and the LRU.
//! - [`Store`]: both locks, the bytes of the buds, and the operations.
//!
//! Left out: hashing, sizes, the search for the best fit, statistics; the table of pools, whose
//! only part in this is the `dead` flag.
//!
//! What must hold, whatever the order of steps: no bud is used or freed that does not exist, no
//! bytes are read while they are written or after the frame went back, a get delivers what was put
//! for that very page, and when all is dropped no frame is left. Violations panic. To show that
//! they would, [`Bug`] breaks one rule at a time. Run with `cargo test --release`: two seconds.

pub mod sharing;

use loom::{
    cell::UnsafeCell,
    sync::Mutex, //
};

/// Pages that the index has room for.
pub const PAGES: usize = 3;

/// Frames that there can be.
const FRAMES: usize = 3;

/// A rule that a variant of the model breaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// None: the protocol as it is.
    None,
    /// `forget` drops the entry without looking whether it is for the evicted bud.
    ForgetAnything,
    /// The evictor frees buds whose entries somebody else has taken.
    FreeWhatWasLost,
    /// A frame goes back when its last bud is freed, pinned or not.
    IgnorePins,
    /// Eviction does not pin the frame.
    EvictUnpinned,
    /// A get from a shared pool takes no reference.
    ReadWithoutReference,
    /// A get from a shared pool takes its reference after the index is unlocked.
    ReferenceTooLate,
    /// A put enters the page into the index before it is filled.
    IndexBeforeFill,
    /// A put does not look whether the pool is being destroyed.
    PutIntoDeadPool,
    /// A put over a page forgets to free the page that came first.
    LoseOlder,
}

/// What a PAM calls a bud: its place, which is given out again once the bud is freed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Handle {
    frame: usize,
    side: usize,
}

/// One bud: none, if it has neither a page nor a reference.
#[derive(Clone, Copy, Default)]
struct Bud {
    /// The way back to the index: the page's number. Set as long as the place is taken.
    page: Option<usize>,
    /// Zero while the bud is filled.
    refs: u32,
}

/// One frame.
#[derive(Clone, Copy, Default)]
struct Frame {
    /// It is ours, not the system's.
    present: bool,
    pins: u32,
    buds: [Bud; 2],
}

/// What zbud's lock protects.
#[derive(Default)]
struct Lists {
    frames: [Frame; FRAMES],
    /// Frames that may be evicted, the oldest first.
    lru: Vec<usize>,
}

/// What a bucket's lock protects.
#[derive(Default)]
struct Index {
    entries: [Option<Handle>; PAGES],
    dead: bool,
}

/// A pool over a PAM.
pub struct Store {
    bug: Bug,
    index: Mutex<Index>,
    lists: Mutex<Lists>,
    /// The bytes of each bud, written and read without a lock; loom tells of overlaps.
    bytes: [[UnsafeCell<Option<u32>>; 2]; FRAMES],
}

impl Store {
    /// Returns an empty store that breaks the given rule.
    pub fn new(bug: Bug) -> Self {
        Self {
            bug,
            index: Mutex::default(),
            lists: Mutex::default(),
            bytes: std::array::from_fn(|_| std::array::from_fn(|_| UnsafeCell::new(None))),
        }
    }

    fn index(&self) -> loom::sync::MutexGuard<'_, Index> {
        self.index.lock().unwrap()
    }

    fn lists(&self) -> loom::sync::MutexGuard<'_, Lists> {
        self.lists.lock().unwrap()
    }

    // The PAM.

    /// Reserves a place for a page: beside a lone bud, or in a new frame. Pins the frame.
    fn place(&self, page: usize) -> Option<Handle> {
        let mut lists = self.lists();
        let room = |frame: &Frame| {
            let taken = frame.buds.iter().filter(|bud| bud.page.is_some()).count();
            frame.present && frame.pins == 0 && taken == 1
        };
        let found = lists.frames.iter().position(room);
        let frame = found.or_else(|| lists.frames.iter().position(|frame| !frame.present))?;
        let desc = &mut lists.frames[frame];
        desc.present = true;
        desc.pins += 1;
        let side = desc.buds.iter().position(|bud| bud.page.is_none())?;
        desc.buds[side].page = Some(page);
        Some(Handle { frame, side })
    }

    fn fill(&self, handle: Handle, content: u32) {
        self.bytes[handle.frame][handle.side].with_mut(|bytes| {
            // SAFETY: loom panics before this if anybody else has access to the cell.
            unsafe { *bytes = Some(content) }
        });
    }

    /// Gives the bud its first reference, and unpins the frame.
    fn publish(&self, handle: Handle) {
        let mut lists = self.lists();
        lists.frames[handle.frame].buds[handle.side].refs = 1;
        self.unpin(&mut lists, handle.frame);
    }

    fn create(&self, page: usize, content: u32) -> Option<Handle> {
        let handle = self.place(page)?;
        self.fill(handle, content);
        self.publish(handle);
        Some(handle)
    }

    fn get_ref(&self, handle: Handle) {
        let mut lists = self.lists();
        let bud = &mut lists.frames[handle.frame].buds[handle.side];
        assert_ne!(bud.refs, 0, "reference to a bud that is not there");
        bud.refs += 1;
    }

    fn get_data(&self, handle: Handle) -> u32 {
        {
            let mut lists = self.lists();
            let desc = &mut lists.frames[handle.frame];
            assert_ne!(
                desc.buds[handle.side].refs, 0,
                "read of a bud that is not there"
            );
            desc.pins += 1;
        }
        let content = self.bytes[handle.frame][handle.side].with(|bytes| {
            // SAFETY: loom panics before this if anybody else writes to the cell.
            unsafe { *bytes }
        });
        let mut lists = self.lists();
        self.unpin(&mut lists, handle.frame);
        content.expect("read of a bud that was never filled")
    }

    fn free(&self, handle: Handle) {
        let mut lists = self.lists();
        self.unref(&mut lists, handle);
        self.settle(&mut lists, handle.frame);
    }

    fn unref(&self, lists: &mut Lists, handle: Handle) {
        let bud = &mut lists.frames[handle.frame].buds[handle.side];
        assert_ne!(bud.refs, 0, "free of a bud that is not there");
        bud.refs -= 1;
        if bud.refs == 0 {
            bud.page = None;
        }
    }

    fn unpin(&self, lists: &mut Lists, frame: usize) {
        let desc = &mut lists.frames[frame];
        assert!(desc.present, "unpinned a frame that is not ours");
        assert_ne!(desc.pins, 0, "unpinned a frame that is not pinned");
        desc.pins -= 1;
        self.settle(lists, frame);
    }

    /// Gives an empty frame back, puts any other on the LRU; a pinned one is left as it is.
    fn settle(&self, lists: &mut Lists, frame: usize) {
        let desc = &mut lists.frames[frame];
        assert!(desc.present, "settled a frame that is not ours");
        if desc.pins != 0 && self.bug != Bug::IgnorePins {
            return;
        }
        if desc.buds.iter().any(|bud| bud.page.is_some()) {
            if !lists.lru.contains(&frame) {
                lists.lru.push(frame);
            }
            return;
        }
        desc.present = false;
        lists.lru.retain(|other| *other != frame);
        for bytes in &self.bytes[frame] {
            // The next owner of the memory writes to it.
            // SAFETY: loom panics before this if anybody else has access to the cell.
            bytes.with_mut(|bytes| unsafe { *bytes = None });
        }
    }

    /// Evicts the oldest frame; returns whether there was one.
    pub fn evict(&self) -> bool {
        let (frame, buds) = {
            let mut lists = self.lists();
            if lists.lru.is_empty() {
                return false;
            }
            let frame = lists.lru.remove(0);
            let desc = &mut lists.frames[frame];
            if desc.pins != 0 {
                // Whoever has pinned it settles it.
                return true;
            }
            if self.bug != Bug::EvictUnpinned {
                desc.pins += 1;
            }
            (frame, desc.buds)
        };
        let won = [0, 1].map(|side| match buds[side] {
            Bud {
                page: Some(page),
                refs,
            } if refs != 0 => self.forget(page, Handle { frame, side }),
            _ => false,
        });
        let mut lists = self.lists();
        for side in [0, 1] {
            let lost = buds[side].refs != 0 && self.bug == Bug::FreeWhatWasLost;
            if won[side] || lost {
                self.unref(&mut lists, Handle { frame, side });
            }
        }
        if self.bug == Bug::EvictUnpinned {
            self.settle(&mut lists, frame);
        } else {
            self.unpin(&mut lists, frame);
        }
        true
    }

    // The index.

    /// Takes the entry of a page out if it is for this bud.
    fn forget(&self, page: usize, handle: Handle) -> bool {
        let entry = &mut self.index().entries[page];
        if *entry == Some(handle) || (self.bug == Bug::ForgetAnything && entry.is_some()) {
            *entry = None;
            return true;
        }
        false
    }

    /// Stores a page; returns whether that worked.
    pub fn put(&self, page: usize, content: u32) -> bool {
        self.flush(page);
        let handle = if self.bug == Bug::IndexBeforeFill {
            let Some(handle) = self.place(page) else {
                return false;
            };
            self.publish(handle);
            handle
        } else {
            let Some(handle) = self.create(page, content) else {
                return false;
            };
            handle
        };
        let (excess, stored) = {
            let mut index = self.index();
            if index.dead && self.bug != Bug::PutIntoDeadPool {
                (Some(handle), false)
            } else {
                (index.entries[page].replace(handle), true)
            }
        };
        if self.bug == Bug::IndexBeforeFill {
            self.fill(handle, content);
        }
        match excess {
            Some(excess) if self.bug != Bug::LoseOlder => self.free(excess),
            _ => (),
        }
        stored
    }

    /// Fetches a page out of a private pool.
    pub fn get(&self, page: usize) -> Option<u32> {
        let handle = self.index().entries[page].take()?;
        let content = self.get_data(handle);
        self.free(handle);
        Some(content)
    }

    /// Fetches a page from a shared pool, and leaves it.
    pub fn get_shared(&self, page: usize) -> Option<u32> {
        let index = self.index();
        let handle = index.entries[page]?;
        match self.bug {
            Bug::ReadWithoutReference => {
                drop(index);
                return Some(self.get_data(handle));
            }
            Bug::ReferenceTooLate => {
                drop(index);
                self.get_ref(handle);
            }
            _ => {
                self.get_ref(handle);
                drop(index);
            }
        }
        let content = self.get_data(handle);
        self.free(handle);
        Some(content)
    }

    /// Drops a page; returns whether it was there.
    pub fn flush(&self, page: usize) -> bool {
        let taken = self.index().entries[page].take();
        if let Some(handle) = taken {
            self.free(handle);
        }
        taken.is_some()
    }

    /// Drops all pages, and lets no more in.
    pub fn destroy(&self) {
        let entries = {
            let mut index = self.index();
            index.dead = true;
            std::mem::take(&mut index.entries)
        };
        for handle in entries.into_iter().flatten() {
            self.free(handle);
        }
    }

    /// Returns whether the pool has been destroyed.
    pub fn is_dead(&self) -> bool {
        self.index().dead
    }

    /// Looks that nothing at all is left. Nobody else may be at work.
    pub fn check_empty(&self) {
        let index = self.index();
        assert!(
            index.entries.iter().all(Option::is_none),
            "a page is left in the index"
        );
        let lists = self.lists();
        assert!(lists.lru.is_empty(), "a frame is left on the LRU");
        assert!(
            lists.frames.iter().all(|frame| !frame.present),
            "a frame is left"
        );
    }
}
