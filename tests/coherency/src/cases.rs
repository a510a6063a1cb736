// SPDX-License-Identifier: GPL-2.0

//! Directed cases: each makes a copy in zcache, does the one thing that makes
//! it stale, and reads. The numbers are those of `Documentation/coherency.rst`.
//!
//! With the guards of a case out of order (`--mutate`) the case must fail; else
//! it would prove nothing. Where a set has several guards, each of them alone
//! is enough: that is tried as well.

use crate::block::{self, Stamp, BLOCK, PAGE, PER_PAGE};
use crate::{control, sys};
use anyhow::{bail, ensure, Context, Result};
use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

/// Where and how to run cases.
pub struct Job {
    /// A folder on the file system.
    pub root: PathBuf,
    /// The file system, as in /proc/filesystems, with what is special about it
    /// behind a dash: `ext4-inline`.
    pub kind: String,
    /// Put guards out of order as well.
    pub mutate: bool,
    /// Only cases with this in their name.
    pub only: Option<String>,
    /// Only cases that a kernel without zcache stands as well.
    pub stock: bool,
}

/// What came of a case.
enum Outcome {
    Right,
    Wrong(String),
}
use Outcome::{Right, Wrong};

struct Case {
    /// Of the list in Documentation/coherency.rst.
    number: u32,
    name: &'static str,
    /// File systems, as the beginning of [`Job::kind`].
    on: &'static [&'static str],
    /// Sets of guards; with any of them out of order the case must fail.
    guards: &'static [&'static str],
    run: fn(&Job) -> Result<Outcome>,
}

const ALL: &[&str] = &["ext4", "ext2", "xfs"];
const EXTENTS: &[&str] = &["ext4", "xfs"];
const EXT: &[&str] = &["ext4", "ext2"];
/// After swapoff, stock keeps what was read of the file while it was swap.
const NOT_STOCK: &[&str] = &["read-while-swap"];
/// With data=journal, ext4 moves no extents, and writes none directly.
const NOT_JOURNAL: &[u32] = &[15, 53];

#[rustfmt::skip]
const CASES: &[Case] = &[
    Case { number: 1, name: "truncate-regrow", on: ALL, guards: &["truncate"], run: truncate },
    Case { number: 1, name: "truncate-regrow-nothing-cached", on: ALL, guards: &["truncate_empty"], run: truncate_empty },
    Case { number: 2, name: "truncate-inside-a-page", on: ALL, guards: &["truncate,insert,dirty,remove_other"], run: truncate_partial },
    Case { number: 3, name: "punch", on: EXTENTS, guards: &["truncate"], run: punch },
    Case { number: 3, name: "zero-range", on: EXTENTS, guards: &["truncate"], run: zero },
    Case { number: 3, name: "collapse", on: EXTENTS, guards: &["truncate"], run: collapse },
    Case { number: 3, name: "insert", on: EXTENTS, guards: &["truncate"], run: insert },
    Case { number: 5, name: "write-uncached", on: ALL, guards: &["insert,dirty,remove_other"], run: write_uncached },
    Case { number: 5, name: "write-cached", on: ALL, guards: &["dirty,remove_other"], run: write_cached },
    Case { number: 7, name: "mmap-store", on: ALL, guards: &["dirty,remove_other"], run: mmap_store },
    Case { number: 8, name: "reference-during-put", on: ALL, guards: &["remove_failed,dirty,remove_other"], run: reference },
    Case { number: 10, name: "direct-write", on: ALL, guards: &["invalidate"], run: direct },
    Case { number: 10, name: "direct-write-nothing-cached", on: ALL, guards: &["invalidate_empty"], run: direct_empty },
    Case { number: 11, name: "direct-write-reader-between", on: ALL, guards: &["dio_post"], run: direct_reader },
    Case { number: 12, name: "aio-reader-between", on: ALL, guards: &["dio_async"], run: aio_reader },
    Case { number: 12, name: "io_uring-reader-between", on: EXT, guards: &["dio_async"], run: uring_reader },
    // XFS hands it to a thread of io_uring, which invalidates once more.
    Case { number: 12, name: "io_uring-reader-between", on: &["xfs"], guards: &[], run: uring_reader },
    Case { number: 14, name: "reflink", on: &["xfs"], guards: &["truncate"], run: reflink },
    Case { number: 14, name: "exchange", on: &["xfs-exchange"], guards: &["truncate"], run: exchange },
    Case { number: 15, name: "move-extent-donor", on: &["ext4"], guards: &["insert,invalidate,unmap"], run: move_extent },
    Case { number: 15, name: "move-extent-donor-cached", on: &["ext4"], guards: &[], run: move_extent_cached },
    Case { number: 16, name: "inline-data", on: &["ext4-inline"], guards: &["insert,remove_other"], run: inline },
    Case { number: 21, name: "truncate-during-put", on: ALL, guards: &["truncate,remove_failed,remove"], run: truncate_during_put },
    Case { number: 24, name: "inode-reuse", on: EXT, guards: &["inode"], run: inode_reuse },
    Case { number: 24, name: "generation-set-and-back", on: &["ext2", "ext4-1k"], guards: &[], run: generation },
    Case { number: 31, name: "swapon", on: &["ext4"], guards: &["swapon,swapoff"], run: swapon },
    Case { number: 31, name: "read-while-swap", on: &["ext4"], guards: &["swapoff"], run: read_while_swap },
    Case { number: 52, name: "drop-caches", on: ALL, guards: &["drop_caches"], run: drop_caches },
    Case { number: 53, name: "direct-write-fails-half-way", on: EXTENTS, guards: &["dio_failed"], run: direct_failed },
    Case { number: 53, name: "direct-write-fails-reader-stays", on: EXTENTS, guards: &["dio_failed"], run: direct_failed_cached },
    // ext2 writes the rest through the page cache, and the first part ends well.
    Case { number: 53, name: "direct-write-fails-half-way", on: &["ext2"], guards: &[], run: direct_failed },
    Case { number: 53, name: "direct-write-fails-reader-stays", on: &["ext2"], guards: &[], run: direct_failed_cached },
];

/// How often a case is tried again that must fail: some are races within 30 ms,
/// which a busy machine can spoil. Five were not always enough.
const TRIES: usize = 50;

/// Runs all cases for a file system; false if one of them, or one of the
/// mutations, came out other than it must.
///
/// # Errors
///
/// A case could not be run.
pub fn run(job: &Job) -> Result<bool> {
    let mut bad = 0;
    let mut done = 0;
    for case in CASES {
        let fits = |on: &&str| job.kind.starts_with(*on);
        let wanted = |only: &String| case.name.contains(only.as_str());
        if job.stock && NOT_STOCK.contains(&case.name) {
            continue;
        }
        if job.kind == "ext4-journal" && NOT_JOURNAL.contains(&case.number) {
            continue;
        }
        if !case.on.iter().any(fits) || !job.only.as_ref().is_none_or(wanted) {
            continue;
        }
        let mut report = |skipped: &str, want_right: bool| -> Result<()> {
            control::skip(if skipped.is_empty() { "none" } else { skipped })?;
            let mut outcome = (case.run)(job);
            for _ in 0..TRIES {
                if want_right || !matches!(outcome, Ok(Right)) {
                    break;
                }
                outcome = (case.run)(job);
            }
            control::skip("none")?;
            control::widen(0)?;
            let outcome = outcome.with_context(|| format!("case {} {}", case.number, case.name))?;
            done += 1;
            let (right, text) = match &outcome {
                Right => (true, "right".to_string()),
                Wrong(text) => (false, format!("stale: {text}")),
            };
            let verdict = if right == want_right { "ok" } else { "FAIL" };
            let without = match skipped {
                "" => String::new(),
                _ => format!(" without {skipped}"),
            };
            println!(
                "{verdict}: {} case {} {}{without}: {text}",
                job.kind, case.number, case.name
            );
            bad += u32::from(right != want_right);
            Ok(())
        };
        report("", true)?;
        if !job.mutate {
            continue;
        }
        for set in case.guards {
            report(set, false)?;
            let members: Vec<&str> = set.split(',').collect();
            for member in members.iter().filter(|_| members.len() > 1) {
                report(member, true)?;
            }
        }
    }
    println!("cases: {}: {done} run, {bad} not as they must be", job.kind);
    ensure!(done > 0, "no case fits {}", job.kind);
    Ok(bad == 0)
}

static FILES: AtomicU32 = AtomicU32::new(1);

/// A file of a case: all its blocks are of write 1.
struct Subject {
    path: PathBuf,
    file: File,
    id: u32,
    pages: usize,
}

impl Subject {
    /// Makes a file on the disk.
    fn new(job: &Job, pages: usize) -> Result<Subject> {
        let id = FILES.fetch_add(1, Ordering::Relaxed);
        let path = job.root.join(format!("case.{id}"));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        let file = options.open(&path)?;
        let subject = Subject {
            path,
            file,
            id,
            pages,
        };
        let data = subject.data(0, pages * PER_PAGE, 1);
        subject.file.write_all_at(&data, 0)?;
        subject.file.sync_all()?;
        Ok(subject)
    }

    fn stamp(&self, place: usize, write: u32) -> Stamp {
        Stamp {
            file: self.id,
            place: place as u32,
            write,
        }
    }

    fn data(&self, from: usize, count: usize, write: u32) -> Vec<u8> {
        let mut data = vec![0; count * BLOCK];
        for (number, bytes) in data.chunks_exact_mut(BLOCK).enumerate() {
            block::fill(bytes, self.stamp(from + number, write));
        }
        data
    }

    /// Moves all pages into zcache and out of the page cache.
    fn store(&self) -> Result<()> {
        self.store_pages(0, self.pages)
    }

    fn store_pages(&self, first: usize, end: usize) -> Result<()> {
        let mut data = vec![0; (end - first) * PAGE];
        for _ in 0..20 {
            let before = control::counter("eph_puts");
            self.file.read_exact_at(&mut data, (first * PAGE) as u64)?;
            sys::page_out(&self.file, first, end)?;
            let stored = control::counter("eph_puts") - before;
            // Without zcache there is nothing but the page cache to be right.
            let enough = stored >= (end - first) as u64 || !control::zcache();
            if enough && self.resident(first, end)? == 0 {
                return Ok(());
            }
            sys::sleep_ms(10);
            self.file.sync_all()?;
        }
        bail!("pages {first}..{end} did not all go to zcache")
    }

    fn resident(&self, first: usize, end: usize) -> Result<usize> {
        let map = sys::Map::of(&self.file, self.pages * PAGE, false)?;
        let bits = map.resident()?;
        let part = &bits[first..end.min(bits.len())];
        Ok(part.iter().filter(|here| **here).count())
    }

    /// Forgets the page cache, and that anything ever was in it.
    fn forget(&self) -> Result<()> {
        Ok(sys::fadvise(&self.file, 0, 0, libc::POSIX_FADV_DONTNEED)?)
    }

    fn write(&self, place: usize, count: usize, write: u32) -> Result<()> {
        let data = self.data(place, count, write);
        Ok(self.file.write_all_at(&data, (place * BLOCK) as u64)?)
    }

    /// Reads page by page, without readahead: that could read over a copy.
    fn read(&self) -> Result<Vec<u8>> {
        let file = File::open(&self.path)?;
        sys::fadvise(&file, 0, 0, libc::POSIX_FADV_RANDOM)?;
        let mut data = vec![0; file.metadata()?.len() as usize];
        for (page, bytes) in data.chunks_mut(PAGE).enumerate() {
            file.read_exact_at(bytes, (page * PAGE) as u64)?;
        }
        Ok(data)
    }

    /// Looks at each block; the first that is not as it should be.
    fn check(&self, wanted: impl Fn(usize) -> Stamp) -> Result<Outcome> {
        let data = self.read()?;
        for (place, bytes) in data.chunks_exact(BLOCK).enumerate() {
            let wanted = wanted(place);
            if !block::is(bytes, wanted) {
                return Ok(Wrong(format!(
                    "block {place}: wanted {}, read {}",
                    wanted.write,
                    block::describe(bytes)
                )));
            }
        }
        Ok(Right)
    }

    /// All of write 1, but `from..to` as `changed` says.
    fn check_changed(
        &self,
        from: usize,
        to: usize,
        changed: impl Fn(usize) -> Stamp,
    ) -> Result<Outcome> {
        self.check(|place| {
            if (from..to).contains(&place) {
                changed(place)
            } else {
                self.stamp(place, 1)
            }
        })
    }

    fn read_direct(&self) -> Result<Vec<u8>> {
        let direct = sys::open_direct(&self.path)?;
        let len = self.file.metadata()?.len() as usize;
        let mut map = sys::Map::anonymous(len.next_multiple_of(PAGE))?;
        let mut at = 0;
        while at < len {
            match direct.read_at(&mut map.bytes()[at..], at as u64)? {
                0 => bail!("a direct read ended early"),
                got => at += got,
            }
        }
        Ok(map.bytes()[..len].to_vec())
    }

    /// Compares what the page cache gives with what is on the disk.
    fn check_disk(&self) -> Result<Outcome> {
        let disk = self.read_direct()?;
        let data = self.read()?;
        let pairs = data.chunks(BLOCK).zip(disk.chunks(BLOCK));
        for (place, (read, disk)) in pairs.enumerate() {
            if read != disk {
                return Ok(Wrong(format!(
                    "block {place}: read {}, on the disk {}",
                    block::describe(read),
                    block::describe(disk)
                )));
            }
        }
        Ok(Right)
    }

    /// Brings pages into the page cache beside their copies: a short run of
    /// copies in the middle of a window is read over.
    fn coexist(&self) -> Result<()> {
        self.forget()?;
        self.file.read_at(&mut [0; BLOCK], 0)?;
        self.forget()?;
        let mut all = vec![0; self.pages * PAGE];
        self.file.read_exact_at(&mut all, 0)?;
        sys::page_out(&self.file, 5, 7)?;
        // The other pages have no copies: they leave without a put.
        self.forget()?;
        ensure!(
            self.resident(0, self.pages)? == 0,
            "pages stay in the page cache"
        );
        sys::fadvise(&self.file, 0, 0, libc::POSIX_FADV_NORMAL)?;
        self.file.read_exact_at(&mut all, 0)?;
        Ok(())
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn truncate(job: &Job) -> Result<Outcome> {
    let subject = Subject::new(job, 16)?;
    subject.store()?;
    cut_and_regrow(&subject)
}

fn truncate_empty(job: &Job) -> Result<Outcome> {
    let subject = Subject::new(job, 16)?;
    subject.store()?;
    subject.forget()?;
    cut_and_regrow(&subject)
}

fn cut_and_regrow(subject: &Subject) -> Result<Outcome> {
    subject.file.set_len(2 * PAGE as u64)?;
    subject.file.set_len(16 * PAGE as u64)?;
    subject.check_changed(2 * PER_PAGE, 16 * PER_PAGE, |_| Stamp::HOLE)
}

/// The put of the first page sleeps for 20 ms, and meanwhile the file is cut.
fn truncate_during_put(job: &Job) -> Result<Outcome> {
    let subject = Subject::new(job, 16)?;
    subject.store()?;
    let file = subject.file.try_clone()?;
    file.read_exact_at(&mut vec![0; 16 * PAGE], 0)?;
    control::widen(1)?;
    let putting = thread::spawn(move || sys::page_out(&file, 0, 16));
    sys::sleep_ms(14);
    subject.file.set_len(0)?;
    subject.file.set_len(16 * PAGE as u64)?;
    let put = putting.join();
    control::widen(0)?;
    put.map_err(|_| anyhow::anyhow!("a thread died"))??;
    subject.check(|_| Stamp::HOLE)
}

fn truncate_partial(job: &Job) -> Result<Outcome> {
    let subject = Subject::new(job, 2)?;
    subject.store()?;
    subject.file.set_len((PAGE + BLOCK) as u64)?;
    subject.file.set_len(2 * PAGE as u64)?;
    subject.file.sync_all()?;
    subject.forget()?;
    subject.check_changed(PER_PAGE + 1, 2 * PER_PAGE, |_| Stamp::HOLE)
}

fn punch(job: &Job) -> Result<Outcome> {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    let subject = fallocated(job, mode)?;
    subject.check_changed(4 * PER_PAGE, 8 * PER_PAGE, |_| Stamp::HOLE)
}

fn zero(job: &Job) -> Result<Outcome> {
    let subject = fallocated(job, libc::FALLOC_FL_ZERO_RANGE)?;
    subject.check_changed(4 * PER_PAGE, 8 * PER_PAGE, |_| Stamp::HOLE)
}

fn collapse(job: &Job) -> Result<Outcome> {
    let subject = fallocated(job, libc::FALLOC_FL_COLLAPSE_RANGE)?;
    subject.check(|place| match place / PER_PAGE {
        0..4 => subject.stamp(place, 1),
        _ => subject.stamp(place + 4 * PER_PAGE, 1),
    })
}

fn insert(job: &Job) -> Result<Outcome> {
    let subject = fallocated(job, libc::FALLOC_FL_INSERT_RANGE)?;
    subject.check(|place| match place / PER_PAGE {
        0..4 => subject.stamp(place, 1),
        4..8 => Stamp::HOLE,
        _ => subject.stamp(place - 4 * PER_PAGE, 1),
    })
}

fn fallocated(job: &Job, mode: i32) -> Result<Subject> {
    let subject = Subject::new(job, 16)?;
    subject.store()?;
    let (offset, len) = (4 * PAGE as u64, 4 * PAGE as u64);
    sys::fallocate(&subject.file, mode, offset, len)?;
    Ok(subject)
}

fn write_uncached(job: &Job) -> Result<Outcome> {
    let subject = Subject::new(job, 8)?;
    subject.store()?;
    let place = 3 * PER_PAGE + 2;
    subject.write(place, 1, 2)?;
    subject.file.sync_all()?;
    subject.forget()?;
    subject.check_changed(place, place + 1, |place| subject.stamp(place, 2))
}

fn write_cached(job: &Job) -> Result<Outcome> {
    let subject = Subject::new(job, 24)?;
    subject.coexist()?;
    let place = 5 * PER_PAGE + 2;
    subject.write(place, 1, 2)?;
    subject.file.sync_all()?;
    subject.forget()?;
    subject.check_changed(place, place + 1, |place| subject.stamp(place, 2))
}

fn mmap_store(job: &Job) -> Result<Outcome> {
    let subject = Subject::new(job, 24)?;
    subject.coexist()?;
    let place = 5 * PER_PAGE + 2;
    {
        let mut map = sys::Map::of(&subject.file, 24 * PAGE, true)?;
        let data = subject.data(place, 1, 2);
        map.bytes()[place * BLOCK..][..BLOCK].copy_from_slice(&data);
    }
    subject.file.sync_all()?;
    subject.forget()?;
    subject.check_changed(place, place + 1, |place| subject.stamp(place, 2))
}

fn reference(job: &Job) -> Result<Outcome> {
    let subject = Subject::new(job, 4)?;
    let file = subject.file.try_clone()?;
    let mut page = [0; PAGE];
    // Without zcache there is no put for a reference to come in.
    let mut kept = !control::zcache();
    for _ in 0..if kept { 0 } else { 50 } {
        file.read_exact_at(&mut page, PAGE as u64)?;
        control::widen(1)?;
        let other = file.try_clone()?;
        let putting = thread::spawn(move || sys::page_out(&other, 1, 2));
        // The put sleeps 20 ms, with the folio locked.
        sys::sleep_ms(4);
        let held = sys::Held::new(&file, PAGE as u64, PAGE);
        putting
            .join()
            .map_err(|_| anyhow::anyhow!("a thread died"))??;
        control::widen(0)?;
        kept = subject.resident(1, 2)? == 1;
        drop(held);
        if kept {
            break;
        }
    }
    ensure!(kept, "no reference came in time");
    subject.write(PER_PAGE, 1, 2)?;
    subject.file.sync_all()?;
    subject.forget()?;
    subject.check_changed(PER_PAGE, PER_PAGE + 1, |place| subject.stamp(place, 2))
}

fn direct(job: &Job) -> Result<Outcome> {
    let subject = Subject::new(job, 8)?;
    subject.store()?;
    write_direct(&subject, 3 * PER_PAGE, PER_PAGE, 2)?;
    subject.check_changed(3 * PER_PAGE, 4 * PER_PAGE, |place| subject.stamp(place, 2))
}

fn direct_empty(job: &Job) -> Result<Outcome> {
    let subject = Subject::new(job, 8)?;
    subject.store()?;
    subject.forget()?;
    write_direct(&subject, 3 * PER_PAGE, PER_PAGE, 2)?;
    subject.check_changed(3 * PER_PAGE, 4 * PER_PAGE, |place| subject.stamp(place, 2))
}

/// Memory for a direct write, with the blocks in it.
fn direct_data(subject: &Subject, place: usize, count: usize, write: u32) -> Result<sys::Map> {
    let data = subject.data(place, count, write);
    let mut map = sys::Map::anonymous(data.len().next_multiple_of(PAGE))?;
    map.bytes()[..data.len()].copy_from_slice(&data);
    Ok(map)
}

fn write_direct(subject: &Subject, place: usize, count: usize, write: u32) -> Result<()> {
    let map = direct_data(subject, place, count, write)?;
    let file = sys::open_direct(&subject.path)?;
    let len = count * BLOCK;
    let got = sys::write_mapped(&file, &map, 0, len, (place * BLOCK) as u64)?;
    ensure!(got == len, "a direct write of {len} bytes wrote {got}");
    Ok(())
}

/// A reader that brings a page back after a direct write has invalidated it, and
/// before it counts as under way; the page then goes to zcache, or stays.
fn reader_between(subject: &Subject, page: usize, evict: bool, write: impl FnOnce()) -> Result<()> {
    // The pool's mark is set, and nothing is cached.
    subject.store()?;
    let file = subject.file.try_clone()?;
    // No put sleeps, but each invalidation does, for 30 ms.
    control::widen(1_000_000_000)?;
    let reader = thread::spawn(move || -> Result<()> {
        sys::sleep_ms(6);
        sys::fadvise(&file, 0, 0, libc::POSIX_FADV_RANDOM)?;
        file.read_exact_at(&mut [0; PAGE], (page * PAGE) as u64)?;
        if evict {
            sys::page_out(&file, page, page + 1)?;
        }
        Ok(())
    });
    write();
    let result = reader.join();
    control::widen(0)?;
    result.map_err(|_| anyhow::anyhow!("a thread died"))?
}

fn direct_reader(job: &Job) -> Result<Outcome> {
    let subject = Subject::new(job, 8)?;
    let (from, to) = (3 * PER_PAGE, 4 * PER_PAGE);
    let mut result = Ok(());
    reader_between(&subject, 3, true, || {
        result = write_direct(&subject, from, PER_PAGE, 2);
    })?;
    result?;
    subject.check_changed(from, to, |place| subject.stamp(place, 2))
}

type WriteAsync = fn(&File, &sys::Map, usize, usize, u64, fn()) -> std::io::Result<usize>;

fn async_reader(job: &Job, write: WriteAsync) -> Result<Outcome> {
    let subject = Subject::new(job, 8)?;
    let (from, to) = (3 * PER_PAGE, 4 * PER_PAGE);
    let map = direct_data(&subject, from, PER_PAGE, 2)?;
    let file = sys::open_direct(&subject.path)?;
    let mut result = Ok(0);
    reader_between(&subject, 3, true, || {
        result = write(&file, &map, 0, PAGE, (from * BLOCK) as u64, || ());
    })?;
    ensure!(result? == PAGE, "a direct write was short");
    subject.check_changed(from, to, |place| subject.stamp(place, 2))
}

fn aio_reader(job: &Job) -> Result<Outcome> {
    async_reader(job, |file, map, from, len, offset, meanwhile| {
        sys::write_aio(file, map, from, len, offset, meanwhile)
    })
}

fn uring_reader(job: &Job) -> Result<Outcome> {
    async_reader(job, |file, map, from, len, offset, meanwhile| {
        sys::write_uring(file, map, from, len, offset, meanwhile)
    })
}

fn reflink(job: &Job) -> Result<Outcome> {
    let source = Subject::new(job, 8)?;
    let subject = Subject::new(job, 8)?;
    subject.store()?;
    let (offset, len) = (2 * PAGE as u64, 4 * PAGE as u64);
    sys::reflink(&source.file, offset, len, &subject.file, offset)?;
    subject.check_changed(2 * PER_PAGE, 6 * PER_PAGE, |place| source.stamp(place, 1))
}

fn exchange(job: &Job) -> Result<Outcome> {
    let other = Subject::new(job, 8)?;
    let subject = Subject::new(job, 8)?;
    subject.store()?;
    other.store()?;
    sys::exchange(&other.file, &subject.file, 2 * PAGE as u64, 4 * PAGE as u64)?;
    let (from, to) = (2 * PER_PAGE, 6 * PER_PAGE);
    match subject.check_changed(from, to, |place| other.stamp(place, 1))? {
        Right => other.check_changed(from, to, |place| subject.stamp(place, 1)),
        wrong => Ok(wrong),
    }
}

fn move_extent(job: &Job) -> Result<Outcome> {
    moved(job, |donor| donor.store())
}

fn move_extent_cached(job: &Job) -> Result<Outcome> {
    moved(job, |donor| {
        donor.store()?;
        let mut all = vec![0; 8 * PAGE];
        Ok(donor.file.read_exact_at(&mut all, 0)?)
    })
}

fn moved(job: &Job, prepare: impl Fn(&Subject) -> Result<()>) -> Result<Outcome> {
    let subject = Subject::new(job, 8)?;
    let donor = Subject::new(job, 8)?;
    prepare(&donor)?;
    let block = subject.file.metadata()?.blksize().min(PAGE as u64);
    let block = if job.kind.starts_with("ext4-1k") {
        1024
    } else {
        block
    };
    let moved = sys::move_extent(&subject.file, &donor.file, 0, 8 * PAGE as u64 / block)?;
    ensure!(moved > 0, "nothing was moved");
    subject.file.sync_all()?;
    match donor.check_disk()? {
        Right => subject.check(|place| subject.stamp(place, 1)),
        wrong => Ok(wrong),
    }
}

fn inline(job: &Job) -> Result<Outcome> {
    // The first read of all makes the pool; what was written needs none.
    Subject::new(job, 1)?.store()?;
    let path = job.root.join("case.inline");
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true);
    let file = options.open(&path)?;
    let old = [b'o'; 48];
    let new = [b'n'; 48];
    file.write_all_at(&old, 0)?;
    file.sync_all()?;
    ensure!(sys::inline(&file)?, "the data is not in the inode");
    let before = control::counter("eph_puts");
    let mut read = [0; 48];
    file.read_exact_at(&mut read, 0)?;
    sys::page_out(&file, 0, 1)?;
    let stored = control::counter("eph_puts") > before;
    ensure!(stored || !control::zcache(), "nothing went to zcache");
    file.write_all_at(&new, 0)?;
    file.sync_all()?;
    sys::fadvise(&file, 0, 0, libc::POSIX_FADV_DONTNEED)?;
    file.read_exact_at(&mut read, 0)?;
    fs::remove_file(&path)?;
    Ok(if read == new {
        Right
    } else {
        Wrong(format!("read {:?}", String::from_utf8_lossy(&read)))
    })
}

fn inode_reuse(job: &Job) -> Result<Outcome> {
    let mut reused = 0;
    for _ in 0..20 {
        let first = Subject::new(job, 16)?;
        first.store()?;
        let number = first.file.metadata()?.ino();
        drop(first);
        sys::sync();
        let second = Subject::new(job, 1)?;
        if second.file.metadata()?.ino() != number {
            continue;
        }
        // A copy of its own sets the mark; then the holes are looked for.
        second.store()?;
        second.file.set_len(16 * PAGE as u64)?;
        reused += 1;
        if let Wrong(text) = second.check_changed(PER_PAGE, 16 * PER_PAGE, |_| Stamp::HOLE)? {
            return Ok(Wrong(text));
        }
    }
    ensure!(reused > 2, "no inode number was used again");
    Ok(Right)
}

fn generation(job: &Job) -> Result<Outcome> {
    let subject = Subject::new(job, 8)?;
    subject.store()?;
    let old = sys::generation(&subject.file)?;
    sys::set_generation(&subject.file, old.wrapping_add(1))?;
    subject.write(3 * PER_PAGE, PER_PAGE, 2)?;
    subject.file.sync_all()?;
    subject.forget()?;
    sys::set_generation(&subject.file, old)?;
    subject.check_changed(3 * PER_PAGE, 4 * PER_PAGE, |place| subject.stamp(place, 2))
}

const SWAP_PAGES: usize = 4096;

/// A file that can be swap space, with blocks in it all the same.
fn swap_file(job: &Job) -> Result<Subject> {
    let subject = Subject::new(job, SWAP_PAGES)?;
    let mut head = [0; PAGE];
    head[1024..1028].copy_from_slice(&1u32.to_le_bytes());
    head[1028..1032].copy_from_slice(&(SWAP_PAGES as u32 - 1).to_le_bytes());
    head[PAGE - 10..].copy_from_slice(b"SWAPSPACE2");
    subject.file.write_all_at(&head, 0)?;
    subject.file.sync_all()?;
    Ok(subject)
}

/// Makes the kernel swap: memory that does not fit, nor compress.
fn swap_out() -> Result<()> {
    let free = control::counter("frames") as usize * PAGE + control::available() as usize;
    let mut map = sys::Map::anonymous(free + (6 << 20))?;
    let mut random = block::Random::new(1);
    for page in map.bytes().chunks_exact_mut(PAGE) {
        for word in page.chunks_exact_mut(8) {
            word.copy_from_slice(&random.next().to_le_bytes());
        }
    }
    Ok(())
}

fn swapped() -> Result<u64> {
    let text = fs::read_to_string("/proc/vmstat")?;
    let line = text.lines().find(|line| line.starts_with("pswpout "));
    let number = line.and_then(|line| line.split(' ').nth(1)?.parse().ok());
    number.context("no pswpout")
}

/// Swap takes the lowest pages first.
const SOME: usize = 64;

fn swapon(job: &Job) -> Result<Outcome> {
    let subject = swap_file(job)?;
    subject.store_pages(1, 1 + SOME)?;
    // Else the page cache itself would be stale.
    subject.forget()?;
    let before = swapped()?;
    sys::swap(&subject.path, true)?;
    let result = swap_out();
    sys::swap(&subject.path, false)?;
    result?;
    ensure!(swapped()? > before, "nothing was swapped out");
    subject.check_disk()
}

fn read_while_swap(job: &Job) -> Result<Outcome> {
    let subject = swap_file(job)?;
    subject.store_pages(1, 2)?;
    let before = swapped()?;
    sys::swap(&subject.path, true)?;
    let mut data = vec![0; SOME * PAGE];
    let read = subject.file.read_exact_at(&mut data, PAGE as u64);
    let result = sys::page_out(&subject.file, 1, 1 + SOME).and(read);
    // A few pages stay in the page cache whatever happens.
    let held = sys::Held::new(&subject.file, PAGE as u64, 8 * PAGE);
    let swapping = swap_out();
    drop(held);
    sys::swap(&subject.path, false)?;
    result?;
    swapping?;
    ensure!(swapped()? > before, "nothing was swapped out");
    subject.check_disk()
}

fn drop_caches(job: &Job) -> Result<Outcome> {
    let subject = Subject::new(job, 16)?;
    subject.store()?;
    let stored = control::counter("stored_pages");
    ensure!(stored >= 16 || !control::zcache(), "nothing is stored");
    control::drop_caches()?;
    let left = control::counter("stored_pages");
    let frames = control::counter("frames");
    Ok(match (left, frames) {
        (0, 0) => Right,
        _ => Wrong(format!("{left} pages are still stored, in {frames} frames")),
    })
}

/// A direct write of two pages of which the second cannot be read from memory.
/// What of it has reached the disk is then not known, but must be what is read.
fn half_a_write(subject: &Subject) -> Result<()> {
    let mut map = direct_data(subject, 3 * PER_PAGE, 2 * PER_PAGE, 2)?;
    map.unmap_from(PAGE)?;
    let file = sys::open_direct(&subject.path)?;
    // It may fail, or report what it wrote.
    let _ = sys::write_mapped(&file, &map, 0, 2 * PAGE, 3 * PAGE as u64);
    Ok(())
}

fn failed(job: &Job, evict: bool) -> Result<Outcome> {
    let subject = Subject::new(job, 8)?;
    let mut result = Ok(());
    reader_between(&subject, 3, evict, || result = half_a_write(&subject))?;
    result?;
    let disk = subject.read_direct()?;
    let place = 3 * PER_PAGE;
    ensure!(
        block::is(&disk[place * BLOCK..][..BLOCK], subject.stamp(place, 2)),
        "the first half did not reach the disk"
    );
    sys::page_out(&subject.file, 0, 8)?;
    subject.check_disk()
}

fn direct_failed(job: &Job) -> Result<Outcome> {
    failed(job, true)
}

fn direct_failed_cached(job: &Job) -> Result<Outcome> {
    failed(job, false)
}

/// Reads a file of a file system that does not take part; true if nothing of it
/// went to zcache.
///
/// # Errors
///
/// The file cannot be read.
pub fn stays_out(path: &Path) -> Result<bool> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let counters = || {
        (
            control::counter("eph_puts"),
            control::counter("stored_pages"),
        )
    };
    let before = counters();
    let len = (&file).seek(SeekFrom::End(0))?.min(16 << 20);
    let mut data = vec![0; 1 << 20];
    let mut gone = 0;
    for _ in 0..3 {
        let mut at = 0;
        while at < len {
            match file.read_at(&mut data, at)? {
                0 => break,
                got => at += got as u64,
            }
        }
        sys::fadvise(&file, 0, 0, libc::POSIX_FADV_NORMAL)?;
        let cached = || -> Result<usize> {
            let map = sys::Map::of(&file, len as usize, false)?;
            Ok(map.resident()?.into_iter().filter(|here| *here).count())
        };
        // What is swapped out stays in memory for a while.
        let before = (cached()?, control::swapped_out());
        sys::page_out_within(&file, len as usize, 0, usize::MAX / PAGE)?;
        gone += before.0.saturating_sub(cached()?);
        gone += (control::swapped_out() - before.1) as usize;
    }
    ensure!(gone > 0, "{}: nothing was reclaimed", path.display());
    let after = counters();
    // What was stored before, as of a file that is deleted since, may be read.
    Ok(before.0 == after.0 && after.1 <= before.1)
}
