// SPDX-License-Identifier: GPL-2.0

//! Who owns a shared page: the protocol between `tmem.rs`, `dedup.rs` and `zbud.rs`.
//!
//! A copy belongs to a descriptor, which knows the pages that have a part in it. What is modelled
//! are the three locks and the steps between them:
//!
//! - [`Index`]: one bucket of one pool. An entry stands for a part in a copy.
//! - [`Shard`]: descriptors, all of one hash. A put that finds one joins it first, and compares
//!   then; who takes the last part away gets the reference to the copy.
//! - [`Copies`]: what zbud knows of copies; each has a frame for itself here.
//!
//! What must hold: as for [`Store`](crate::Store); nobody leaves a descriptor that he has no part
//! in; and when all is dropped, neither a descriptor nor a copy is left.

use loom::{
    cell::UnsafeCell,
    sync::{
        Mutex,
        MutexGuard, //
    },
};

/// Pages that the index has room for.
pub const PAGES: usize = 3;

/// Copies and descriptors that there can be.
const MOST: usize = 3;

/// A rule that a variant of the model breaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// None: the protocol as it is.
    None,
    /// A put compares first and joins then.
    JoinAfterComparison,
    /// A put that turns out to differ does not leave again.
    StayWhereItDiffers,
    /// A put that turns out to differ leaves, and never frees what it was the last to leave.
    LeaveWithoutFreeing,
    /// A put that finds a content takes no part in it.
    FindWithoutJoining,
    /// A descriptor can be found before its copy is filled.
    PublishBeforeFill,
    /// Eviction leaves the descriptor before the index lets go of the entry.
    LeaveBeforeForgetting,
    /// Eviction frees the copy although somebody still has a part in it.
    FreeWhatIsShared,
    /// A get frees the copy without asking who else has a part in it.
    GetFreesForAll,
    /// A put that comes into a dead pool forgets the part that it has.
    LosePartInDeadPool,
}

/// What the index has for a page: a copy, and its descriptor.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Handle {
    copy: usize,
    name: usize,
}

#[derive(Default)]
struct Index {
    entries: [Option<Handle>; PAGES],
    dead: bool,
}

/// A descriptor.
#[derive(Default)]
struct Content {
    taken: bool,
    /// The copy, once it is published.
    copy: Option<usize>,
    /// The pages with a part in it.
    entries: Vec<usize>,
}

#[derive(Default)]
struct Shard {
    contents: [Content; MOST],
}

#[derive(Clone, Copy, Default)]
struct Copy {
    taken: bool,
    /// Zero while it is filled.
    refs: u32,
    pins: u32,
    /// Its descriptor.
    name: usize,
}

#[derive(Default)]
struct Copies {
    copies: [Copy; MOST],
}

/// A pool over descriptors over copies.
pub struct Sharing {
    bug: Bug,
    index: Mutex<Index>,
    shard: Mutex<Shard>,
    copies: Mutex<Copies>,
    /// The bytes of each copy, written and read without a lock; loom tells of overlaps.
    bytes: [UnsafeCell<Option<u32>>; MOST],
}

impl Sharing {
    /// Returns an empty pool that breaks the given rule.
    pub fn new(bug: Bug) -> Self {
        Self {
            bug,
            index: Mutex::default(),
            shard: Mutex::default(),
            copies: Mutex::default(),
            bytes: std::array::from_fn(|_| UnsafeCell::new(None)),
        }
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap()
    }

    fn shard(&self) -> MutexGuard<'_, Shard> {
        self.shard.lock().unwrap()
    }

    fn copies(&self) -> MutexGuard<'_, Copies> {
        self.copies.lock().unwrap()
    }

    // zbud.

    fn place(&self, name: usize) -> Option<usize> {
        let mut copies = self.copies();
        let copy = copies.copies.iter().position(|copy| !copy.taken)?;
        copies.copies[copy] = Copy {
            taken: true,
            refs: 0,
            pins: 1,
            name,
        };
        Some(copy)
    }

    fn fill(&self, copy: usize, content: u32) {
        self.bytes[copy].with_mut(|bytes| {
            // SAFETY: loom panics before this if anybody else has access to the cell.
            unsafe { *bytes = Some(content) }
        });
    }

    fn filled(&self, copy: usize) {
        let mut copies = self.copies();
        copies.copies[copy].refs = 1;
        self.unpin(&mut copies, copy);
    }

    fn read(&self, copy: usize) -> u32 {
        {
            let copy = &mut self.copies().copies[copy];
            assert_ne!(copy.refs, 0, "read of a copy that is not there");
            copy.pins += 1;
        }
        let content = self.bytes[copy].with(|bytes| {
            // SAFETY: loom panics before this if anybody else writes to the cell.
            unsafe { *bytes }
        });
        self.unpin(&mut self.copies(), copy);
        content.expect("read of a copy that was never filled")
    }

    fn free(&self, copy: usize) {
        let mut copies = self.copies();
        self.unref(&mut copies, copy);
        self.settle(&mut copies, copy);
    }

    fn unref(&self, copies: &mut Copies, copy: usize) {
        let copy = &mut copies.copies[copy];
        assert_ne!(copy.refs, 0, "free of a copy that is not there");
        copy.refs -= 1;
    }

    fn unpin(&self, copies: &mut Copies, copy: usize) {
        assert_ne!(copies.copies[copy].pins, 0, "unpinned what is not pinned");
        copies.copies[copy].pins -= 1;
        self.settle(copies, copy);
    }

    fn settle(&self, copies: &mut Copies, copy: usize) {
        let desc = &mut copies.copies[copy];
        if desc.pins != 0 || desc.refs != 0 || !desc.taken {
            return;
        }
        desc.taken = false;
        self.bytes[copy].with_mut(|bytes| {
            // The next owner of the memory writes to it.
            // SAFETY: loom panics before this if anybody else has access to the cell.
            unsafe { *bytes = None }
        });
    }

    /// Evicts a copy that nobody reads; returns whether there was one.
    pub fn evict(&self) -> bool {
        let (copy, name) = {
            let mut copies = self.copies();
            let oldest = |copy: &Copy| copy.refs != 0 && copy.pins == 0;
            let Some(copy) = copies.copies.iter().position(oldest) else {
                return false;
            };
            let desc = &mut copies.copies[copy];
            desc.pins += 1;
            (copy, desc.name)
        };
        let won = self.evict_content(name, copy);
        let mut copies = self.copies();
        if won || self.bug == Bug::FreeWhatIsShared {
            self.unref(&mut copies, copy);
        }
        self.unpin(&mut copies, copy);
        true
    }

    // Descriptors.

    /// A copy that is equal to a page, of which the page then has a part.
    fn find(&self, page: usize, content: u32) -> Option<Handle> {
        let (name, copy) = {
            let mut shard = self.shard();
            let name = shard
                .contents
                .iter()
                .position(|content| content.copy.is_some())?;
            let found = &mut shard.contents[name];
            if !matches!(self.bug, Bug::JoinAfterComparison | Bug::FindWithoutJoining) {
                found.entries.push(page);
            }
            (name, found.copy?)
        };
        let equal = self.read(copy) == content;
        if self.bug == Bug::JoinAfterComparison && equal {
            self.shard().contents[name].entries.push(page);
        }
        if equal {
            return Some(Handle { copy, name });
        }
        let joined = !matches!(
            self.bug,
            Bug::JoinAfterComparison | Bug::FindWithoutJoining | Bug::StayWhereItDiffers
        );
        if joined && self.leave(name, copy, page) && self.bug != Bug::LeaveWithoutFreeing {
            self.free(copy);
        }
        None
    }

    /// Sets a descriptor apart.
    fn prepare(&self) -> Option<usize> {
        let mut shard = self.shard();
        let name = shard.contents.iter().position(|content| !content.taken)?;
        shard.contents[name].taken = true;
        Some(name)
    }

    fn give_back(&self, name: usize) {
        self.shard().contents[name] = Content::default();
    }

    /// Lets others find a copy, of which `page` has a part. (The driver has the page in the list
    /// from the start: nobody looks at it before there is a copy.)
    fn publish(&self, name: usize, copy: usize, page: usize) {
        let content = &mut self.shard().contents[name];
        content.copy = Some(copy);
        content.entries.push(page);
    }

    /// Takes the part of a page away. If true, the caller has the reference to the copy.
    fn leave(&self, name: usize, copy: usize, page: usize) -> bool {
        let content = &mut self.shard().contents[name];
        assert_eq!(content.copy, Some(copy), "left a descriptor that is gone");
        let place = content.entries.iter().position(|entry| *entry == page);
        content.entries.remove(place.expect("left without a part"));
        let last = content.entries.is_empty();
        if last {
            *content = Content::default();
        }
        last
    }

    /// Takes all entries of a copy out of the index and out of the descriptor.
    fn evict_content(&self, name: usize, copy: usize) -> bool {
        for _ in 0..2 * PAGES {
            let page = {
                let content = &self.shard().contents[name];
                match content.entries.first() {
                    Some(page) if content.copy == Some(copy) => *page,
                    _ => return false,
                }
            };
            let handle = Handle { copy, name };
            if self.bug == Bug::LeaveBeforeForgetting {
                let last = self.leave(name, copy, page);
                if !self.forget(page, handle) || last {
                    return last;
                }
                continue;
            }
            if !self.forget(page, handle) {
                return false;
            }
            if self.leave(name, copy, page) {
                return true;
            }
        }
        false
    }

    // The index.

    /// Takes the entry of a page out if it is for this copy.
    fn forget(&self, page: usize, handle: Handle) -> bool {
        let entry = &mut self.index().entries[page];
        let same = *entry == Some(handle);
        if same {
            *entry = None;
        }
        same
    }

    fn free_entry(&self, handle: Handle, page: usize) {
        if self.bug == Bug::GetFreesForAll || self.leave(handle.name, handle.copy, page) {
            self.free(handle.copy);
        }
    }

    /// Stores a page; returns whether that worked.
    pub fn put(&self, page: usize, content: u32) -> bool {
        self.flush(page);
        let Some(handle) = self
            .find(page, content)
            .or_else(|| self.create(page, content))
        else {
            return false;
        };
        let (excess, stored) = {
            let mut index = self.index();
            if index.dead {
                (Some(handle), false)
            } else {
                (index.entries[page].replace(handle), true)
            }
        };
        if let Some(excess) = excess {
            if stored || self.bug != Bug::LosePartInDeadPool {
                self.free_entry(excess, page);
            }
        }
        stored
    }

    fn create(&self, page: usize, content: u32) -> Option<Handle> {
        let name = self.prepare()?;
        let Some(copy) = self.place(name) else {
            self.give_back(name);
            return None;
        };
        if self.bug == Bug::PublishBeforeFill {
            self.publish(name, copy, page);
        }
        self.fill(copy, content);
        self.filled(copy);
        if self.bug != Bug::PublishBeforeFill {
            self.publish(name, copy, page);
        }
        Some(Handle { copy, name })
    }

    /// Fetches a page.
    pub fn get(&self, page: usize) -> Option<u32> {
        let handle = self.index().entries[page].take()?;
        let content = self.read(handle.copy);
        self.free_entry(handle, page);
        Some(content)
    }

    /// Drops a page.
    pub fn flush(&self, page: usize) {
        let taken = self.index().entries[page].take();
        if let Some(handle) = taken {
            self.free_entry(handle, page);
        }
    }

    /// Drops all pages, and lets no more in.
    pub fn destroy(&self) {
        let entries = {
            let mut index = self.index();
            index.dead = true;
            std::mem::take(&mut index.entries)
        };
        for (page, handle) in entries.into_iter().enumerate() {
            if let Some(handle) = handle {
                self.free_entry(handle, page);
            }
        }
    }

    /// How many copies there are.
    pub fn count(&self) -> usize {
        self.copies().copies.iter().filter(|c| c.taken).count()
    }

    /// Looks that nothing at all is left. Nobody else may be at work.
    pub fn check_empty(&self) {
        assert!(
            self.index().entries.iter().all(Option::is_none),
            "a page is left in the index"
        );
        assert!(
            self.shard().contents.iter().all(|content| !content.taken),
            "a descriptor is left"
        );
        assert_eq!(self.count(), 0, "a copy is left");
    }
}
