// SPDX-License-Identifier: GPL-2.0

//! One operation on a file, as it is chosen, done, and written in a history.

use crate::block::{Random, PER_PAGE};
use std::fmt;

/// Blocks of the largest file: 1 MiB.
pub const MOST: usize = 2048;
/// Blocks of the largest single change: 128 KiB.
const MOST_CHANGED: usize = 256;

/// How a direct write is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direct {
    /// pwrite(2).
    Sync,
    /// Linux AIO.
    Aio,
    /// io_uring.
    Uring,
    /// pwrite(2) of memory whose second half is not there.
    Torn,
}

/// How a range is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reading {
    /// pread(2).
    Plain,
    /// Through a mapping.
    Mapped,
    /// Past the page cache.
    Direct,
    /// Into a pipe.
    Spliced,
    /// After POSIX_FADV_WILLNEED.
    Ahead,
}

/// A change of a range of blocks by fallocate(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Shape {
    Punch,
    Zero,
    Collapse,
    Insert,
    Allocate,
}

/// An operation. Ranges are in blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Op {
    Write {
        from: usize,
        count: usize,
    },
    Store {
        from: usize,
        count: usize,
    },
    Direct {
        how: Direct,
        from: usize,
        count: usize,
    },
    Truncate {
        blocks: usize,
    },
    Shape {
        how: Shape,
        from: usize,
        count: usize,
    },
    Reflink {
        source: usize,
        from: usize,
        count: usize,
        to: usize,
    },
    Copy {
        source: usize,
        from: usize,
        count: usize,
        to: usize,
    },
    Exchange {
        other: usize,
        from: usize,
        count: usize,
    },
    Move {
        donor: usize,
        from: usize,
        count: usize,
    },
    Replace,
    RenameOver {
        other: usize,
    },
    Generation,
    Swap,
    Remount,
    Sync,
    Forget,
    PageOut {
        from: usize,
        count: usize,
    },
    Read {
        how: Reading,
        from: usize,
        count: usize,
    },
}

/// An operation on one of a worker's files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// The file's number.
    pub file: usize,
    /// What is done to it.
    pub op: Op,
}

impl Op {
    /// For the counts, and to leave out what a file system cannot do.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Write { .. } => "write",
            Op::Store { .. } => "mmap-write",
            Op::Direct { how, .. } => match how {
                Direct::Sync => "direct-write",
                Direct::Aio => "aio-write",
                Direct::Uring => "io_uring-write",
                Direct::Torn => "torn-direct-write",
            },
            Op::Truncate { .. } => "truncate",
            Op::Shape { how, .. } => match how {
                Shape::Punch => "punch",
                Shape::Zero => "zero-range",
                Shape::Collapse => "collapse",
                Shape::Insert => "insert",
                Shape::Allocate => "allocate",
            },
            Op::Reflink { .. } => "reflink",
            Op::Copy { .. } => "copy-range",
            Op::Exchange { .. } => "exchange",
            Op::Move { .. } => "move-extent",
            Op::Replace => "recreate",
            Op::RenameOver { .. } => "rename-over",
            Op::Generation => "set-generation",
            Op::Swap => "swapon",
            Op::Remount => "remount",
            Op::Sync => "fsync",
            Op::Forget => "fadvise",
            Op::PageOut { .. } => "page-out",
            Op::Read { how, .. } => match how {
                Reading::Plain => "read",
                Reading::Mapped => "mmap-read",
                Reading::Direct => "direct-read",
                Reading::Spliced => "splice-read",
                Reading::Ahead => "willneed-read",
            },
        }
    }

    /// The other file that it reads or changes.
    pub fn other(&self) -> Option<usize> {
        match *self {
            Op::Reflink { source, .. } | Op::Copy { source, .. } => Some(source),
            Op::Exchange { other, .. } | Op::RenameOver { other } => Some(other),
            Op::Move { donor, .. } => Some(donor),
            _ => None,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file {}: {} ", self.file, self.op.name())?;
        match self.op {
            Op::Write { from, count }
            | Op::Store { from, count }
            | Op::Direct { from, count, .. }
            | Op::Shape { from, count, .. }
            | Op::PageOut { from, count }
            | Op::Read { from, count, .. } => write!(f, "blocks {from}+{count}"),
            Op::Truncate { blocks } => write!(f, "to {blocks} blocks"),
            Op::Reflink {
                source,
                from,
                count,
                to,
            }
            | Op::Copy {
                source,
                from,
                count,
                to,
            } => {
                write!(f, "of file {source}, blocks {from}+{count}, to {to}")
            }
            Op::Exchange { other, from, count } => {
                write!(f, "with file {other}, blocks {from}+{count}")
            }
            Op::Move { donor, from, count } => write!(f, "donor {donor}, blocks {from}+{count}"),
            Op::RenameOver { other } => write!(f, "file {other}"),
            _ => Ok(()),
        }
    }
}

/// Chooses operations.
pub struct Chooser {
    random: Random,
    files: usize,
    /// Blocks that a file system block has.
    unit: usize,
    /// Of 100 operations, those that only read.
    reads: usize,
}

impl Chooser {
    /// For that many files, in units of so many blocks, of which `reads`
    /// percent only read.
    pub fn new(seed: u64, files: usize, unit: usize, reads: usize) -> Self {
        Chooser {
            random: Random::new(seed),
            files,
            unit,
            reads,
        }
    }

    fn range(&mut self, unit: usize) -> (usize, usize) {
        let from = self.random.below(MOST / unit) * unit;
        let count = (1 + self.random.below(MOST_CHANGED / unit)) * unit;
        (from, count.min(MOST - from))
    }

    fn other(&mut self, file: usize) -> usize {
        (file + 1 + self.random.below(self.files - 1)) % self.files
    }

    /// The next operation.
    pub fn next(&mut self) -> Step {
        let file = self.random.below(self.files);
        let op = if self.random.below(100) < self.reads {
            self.reading()
        } else {
            self.change(file)
        };
        Step { file, op }
    }

    fn reading(&mut self) -> Op {
        let (from, count) = match self.random.below(3) {
            0 => self.range(1),
            _ => (0, MOST),
        };
        let how = match self.random.below(20) {
            0..14 => Reading::Plain,
            14..16 => Reading::Mapped,
            16 => Reading::Direct,
            17 => Reading::Spliced,
            _ => Reading::Ahead,
        };
        let (from, count) = match how {
            Reading::Direct => self.range(PER_PAGE),
            _ => (from, count),
        };
        Op::Read { how, from, count }
    }

    fn change(&mut self, file: usize) -> Op {
        let (from, count) = self.range(1);
        let (direct_from, direct_count) = self.range(PER_PAGE);
        let (unit_from, unit_count) = self.range(self.unit);
        let to = self.random.below(MOST / self.unit) * self.unit;
        let direct = |how| Op::Direct {
            how,
            from: direct_from,
            count: direct_count,
        };
        let shape = |how| Op::Shape { how, from, count };
        let moved = |how| Op::Shape {
            how,
            from: unit_from,
            count: unit_count,
        };
        match self.random.below(100) {
            0..18 => Op::Write { from, count },
            18..24 => Op::Store { from, count },
            24..28 => direct(Direct::Sync),
            28..31 => direct(Direct::Aio),
            31..34 => direct(Direct::Uring),
            34..36 => direct(Direct::Torn),
            36..42 => Op::Truncate {
                blocks: self.random.below(MOST + 1),
            },
            42..45 => shape(Shape::Punch),
            45..47 => shape(Shape::Zero),
            47..49 => moved(Shape::Collapse),
            49..51 => moved(Shape::Insert),
            51..53 => shape(Shape::Allocate),
            53..56 => Op::Reflink {
                source: self.other(file),
                from: unit_from,
                count: unit_count,
                to,
            },
            56..58 => Op::Copy {
                source: self.other(file),
                from,
                count,
                to,
            },
            58..60 => Op::Exchange {
                other: self.other(file),
                from: unit_from,
                count: unit_count,
            },
            60..62 => Op::Move {
                donor: self.other(file),
                from: unit_from,
                count: unit_count,
            },
            62..64 => Op::Replace,
            64..65 => Op::RenameOver {
                other: self.other(file),
            },
            65..66 => Op::Generation,
            66 if self.random.one_in(4) => Op::Swap,
            67 => Op::Remount,
            68..76 => Op::Sync,
            76..80 => Op::Forget,
            80..90 => Op::PageOut {
                from: 0,
                count: MOST,
            },
            _ => Op::PageOut { from, count },
        }
    }
}
