// SPDX-License-Identifier: GPL-2.0

//! A worker's files, and what each of their blocks must be.

use crate::block::{self, Stamp, BLOCK, PAGE, PER_PAGE};
use crate::op::{Direct, Op, Reading, Shape, Step, MOST};
use crate::sys;
use anyhow::{bail, Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// A byte that was wrong.
#[derive(Debug)]
pub struct Mismatch {
    /// In which file.
    pub file: usize,
    /// What was wrong, and what it should have been.
    pub text: String,
}

/// Files and their model.
pub struct World {
    root: PathBuf,
    /// What each block of each file must be.
    model: Vec<Vec<Stamp>>,
    /// The names' numbers: files change them by renaming.
    ids: Vec<u32>,
    last_id: u32,
    writes: u32,
    /// Blocks that a file system block has.
    unit: usize,
    /// Errors of the disk are expected.
    errors: bool,
    /// Operations that this file system cannot do.
    pub missing: BTreeSet<&'static str>,
    /// How often each was done.
    pub done: BTreeMap<&'static str, u64>,
    /// Blocks that were compared.
    pub checked: u64,
    /// The last step found nothing to do.
    idle: bool,
    /// Operations that failed for an error of the disk.
    pub failures: u64,
}

/// Errors that say that something cannot be done here, at all or just now.
fn cannot(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EOPNOTSUPP | libc::ENOTTY | libc::ENOSYS | libc::EINVAL)
    )
}

impl World {
    /// Empty files in a new folder.
    pub fn new(root: PathBuf, files: usize, unit: usize, errors: bool) -> Result<World> {
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).with_context(|| root.display().to_string())?;
        let mut world = World {
            root,
            model: vec![Vec::new(); files],
            ids: vec![0; files],
            last_id: 0,
            writes: 0,
            unit,
            errors,
            missing: BTreeSet::new(),
            done: BTreeMap::new(),
            checked: 0,
            idle: false,
            failures: 0,
        };
        for file in 0..files {
            world.create(file)?;
        }
        Ok(world)
    }

    fn path(&self, file: usize) -> PathBuf {
        self.root.join(format!("file.{file}"))
    }

    fn create(&mut self, file: usize) -> io::Result<()> {
        File::create(self.path(file))?;
        self.last_id += 1;
        self.ids[file] = self.last_id;
        self.model[file].clear();
        Ok(())
    }

    fn open(&self, file: usize) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).open(self.path(file))
    }

    /// Does a step. A mismatch is what the whole program is after.
    ///
    /// # Errors
    ///
    /// An error that is not one that this file system, or a broken disk, may give.
    pub fn step(&mut self, step: Step) -> Result<Option<Mismatch>> {
        let name = step.op.name();
        if self.missing.contains(name) {
            return Ok(None);
        }
        self.idle = false;
        match self.apply(step) {
            Ok(found) => {
                *self.done.entry(name).or_default() += u64::from(!self.idle);
                Ok(found)
            }
            Err(error) => match error.downcast_ref::<io::Error>() {
                // An empty disk is not what is tested here.
                Some(io) if io.raw_os_error() == Some(libc::ENOSPC) => self.settle(step),
                Some(io) if cannot(io) => {
                    // Some need a certain state: they may work the next time.
                    if io.raw_os_error() != Some(libc::EINVAL) {
                        self.missing.insert(name);
                    }
                    self.settle(step)
                }
                Some(_) if self.errors => {
                    self.failures += 1;
                    self.settle(step)
                }
                _ => Err(error).with_context(|| step.to_string()),
            },
        }
    }

    /// After a failure, what is on the disk counts; what is read must be that.
    fn settle(&mut self, step: Step) -> Result<Option<Mismatch>> {
        let mut found = None;
        for file in [Some(step.file), step.op.other()].into_iter().flatten() {
            match self.adopt(file) {
                Ok(None) => {}
                Ok(mismatch) => found = mismatch,
                Err(_) if self.errors => {
                    // Not even readable: begin anew, as far as that works.
                    let _ = fs::remove_file(self.path(file));
                    let _ = self.create(file);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Takes the disk's content for the model, and compares reads with it.
    fn adopt(&mut self, file: usize) -> Result<Option<Mismatch>> {
        let opened = self.open(file)?;
        let written = opened.sync_all();
        if !self.errors {
            written?;
        }
        // What could not be written goes; a reader must see the disk's.
        sys::page_out(&opened, 0, MOST)?;
        sys::fadvise(&opened, 0, 0, libc::POSIX_FADV_DONTNEED)?;
        let len = opened.metadata()?.len() as usize;
        if len % BLOCK != 0 {
            bail!("file {file} has {len} bytes");
        }
        let disk = self.read_direct(file, 0, len)?;
        let mut data = vec![0; len];
        opened.read_exact_at(&mut data, 0)?;
        self.model[file].clear();
        let pairs = data.chunks(BLOCK).zip(disk.chunks(BLOCK));
        for (place, (read, disk)) in pairs.enumerate() {
            self.checked += 1;
            if read != disk {
                return Ok(Some(Mismatch {
                    file,
                    text: format!(
                        "file {file}, block {place}: after a failure, read {}, on the disk {}",
                        block::describe(read),
                        block::describe(disk)
                    ),
                }));
            }
            match block::read(disk) {
                Some(stamp) => self.model[file].push(stamp),
                // A write that failed in its middle: nothing to compare with.
                None if self.errors => {
                    fs::remove_file(self.path(file))?;
                    self.create(file)?;
                    return Ok(None);
                }
                None => bail!("file {file}, block {place} is torn on the disk"),
            }
        }
        Ok(None)
    }

    fn stamps(&mut self, file: usize, from: usize, count: usize) -> Vec<Stamp> {
        self.writes += 1;
        let (file, write) = (self.ids[file], self.writes);
        let place = |place| Stamp {
            file,
            place: place as u32,
            write,
        };
        (from..from + count).map(place).collect()
    }

    /// Puts stamps into the model; what lies between the end and them is a hole.
    fn enter(&mut self, file: usize, from: usize, stamps: &[Stamp]) {
        let blocks = &mut self.model[file];
        let end = from + stamps.len();
        if blocks.len() < end {
            blocks.resize(end, Stamp::HOLE);
        }
        blocks[from..end].copy_from_slice(stamps);
    }

    /// A source's blocks as far as there are any, and where they can go.
    fn source(&self, source: usize, from: usize, count: usize, to: usize) -> Option<Vec<Stamp>> {
        let blocks = &self.model[source];
        let end = blocks.len().min(from + count).min(from + MOST - to);
        (from < end).then(|| blocks[from..end].to_vec())
    }

    fn apply(&mut self, step: Step) -> Result<Option<Mismatch>> {
        let file = step.file;
        match step.op {
            Op::Write { from, count } => {
                let stamps = self.stamps(file, from, count);
                let data = bytes(&stamps);
                self.open(file)?
                    .write_all_at(&data, (from * BLOCK) as u64)?;
                self.enter(file, from, &stamps);
            }
            Op::Store { from, count } => self.store(file, from, count)?,
            Op::Direct { how, from, count } => return self.direct(file, how, from, count),
            Op::Truncate { blocks } => {
                self.open(file)?.set_len((blocks * BLOCK) as u64)?;
                self.model[file].resize(blocks, Stamp::HOLE);
            }
            Op::Shape { how, from, count } => self.shape(file, how, from, count)?,
            Op::Reflink {
                source,
                from,
                count,
                to,
            } => {
                let Some(stamps) = self.source(source, from, count, to) else {
                    self.idle = true;
                    return Ok(None);
                };
                // Whole blocks, but for the end of the source.
                let whole = stamps.len() - stamps.len() % self.unit;
                let stamps = &stamps[..whole];
                if stamps.is_empty() {
                    self.idle = true;
                    return Ok(None);
                }
                let (source, target) = (self.open(source)?, self.open(file)?);
                sys::reflink(
                    &source,
                    (from * BLOCK) as u64,
                    (whole * BLOCK) as u64,
                    &target,
                    (to * BLOCK) as u64,
                )?;
                self.enter(file, to, stamps);
            }
            Op::Copy {
                source,
                from,
                count,
                to,
            } => {
                let Some(stamps) = self.source(source, from, count, to) else {
                    self.idle = true;
                    return Ok(None);
                };
                let (source, target) = (self.open(source)?, self.open(file)?);
                let len = stamps.len() * BLOCK;
                let mut at = 0;
                while at < len {
                    let (offset, to) = ((from * BLOCK + at) as u64, (to * BLOCK + at) as u64);
                    match sys::copy_range(&source, offset, &target, to, len - at)? {
                        0 => bail!("copy_file_range stopped at byte {at} of {len}"),
                        copied => at += copied,
                    }
                }
                self.enter(file, to, &stamps);
            }
            Op::Exchange { other, from, count } => {
                let len = self.model[file].len().min(self.model[other].len());
                let end = (from + count).min(len) / self.unit * self.unit;
                if from >= end {
                    self.idle = true;
                    return Ok(None);
                }
                let (a, b) = (self.open(file)?, self.open(other)?);
                let (offset, len) = ((from * BLOCK) as u64, ((end - from) * BLOCK) as u64);
                sys::exchange(&a, &b, offset, len)?;
                for place in from..end {
                    let kept = self.model[file][place];
                    self.model[file][place] = self.model[other][place];
                    self.model[other][place] = kept;
                }
            }
            Op::Move { donor, from, count } => return self.relocate(file, donor, from, count),
            Op::Replace => {
                fs::remove_file(self.path(file))?;
                self.create(file)?;
            }
            Op::RenameOver { other } => {
                fs::rename(self.path(file), self.path(other))?;
                self.model[other] = std::mem::take(&mut self.model[file]);
                self.ids[other] = self.ids[file];
                self.create(file)?;
            }
            Op::Generation => {
                let opened = self.open(file)?;
                let old = sys::generation(&opened)?;
                sys::set_generation(&opened, old ^ 1)?;
            }
            // Not on a broken disk: what the kernel swaps there in the meantime, even
            // init's memory, would be lost, and UML panics on a page that was
            // (VM_FAULT_HWPOISON in handle_page_fault), with zcache or without.
            Op::Swap if self.errors => {
                self.idle = true;
                return Ok(None);
            }
            Op::Swap => return self.swap(file),
            Op::Remount => sys::remount(&self.mount_point()?, false)?,
            Op::Sync => self.open(file)?.sync_all()?,
            Op::Forget => {
                sys::fadvise(&self.open(file)?, 0, 0, libc::POSIX_FADV_DONTNEED)?;
            }
            Op::PageOut { from, count } => {
                let opened = self.open(file)?;
                opened.sync_data()?;
                sys::page_out(&opened, from / PER_PAGE, (from + count).div_ceil(PER_PAGE))?;
            }
            Op::Read { how, from, count } => return self.check(file, how, from, count),
        }
        Ok(None)
    }

    /// Where the file system is mounted: two folders up.
    fn mount_point(&self) -> Result<PathBuf> {
        let point = self.root.parent().context("no mount point")?;
        Ok(point.to_path_buf())
    }

    fn store(&mut self, file: usize, from: usize, count: usize) -> Result<()> {
        let count = count.min(self.model[file].len().saturating_sub(from));
        if count == 0 {
            self.idle = true;
            return Ok(());
        }
        let stamps = self.stamps(file, from, count);
        let data = bytes(&stamps);
        let opened = self.open(file)?;
        if self.errors {
            // A failed read would be a signal.
            opened.write_all_at(&data, (from * BLOCK) as u64)?;
        } else {
            let len = self.model[file].len() * BLOCK;
            let mut map = sys::Map::of(&opened, len, true)?;
            map.bytes()[from * BLOCK..][..data.len()].copy_from_slice(&data);
        }
        self.enter(file, from, &stamps);
        Ok(())
    }

    fn direct(
        &mut self,
        file: usize,
        how: Direct,
        from: usize,
        count: usize,
    ) -> Result<Option<Mismatch>> {
        let stamps = self.stamps(file, from, count);
        let data = bytes(&stamps);
        let len = data.len();
        let mut map = sys::Map::anonymous(len)?;
        map.bytes().copy_from_slice(&data);
        let opened = sys::open_direct(&self.path(file))?;
        let offset = (from * BLOCK) as u64;
        let written = match how {
            Direct::Sync => sys::write_mapped(&opened, &map, 0, len, offset)?,
            Direct::Aio => sys::write_aio(&opened, &map, 0, len, offset, || ())?,
            Direct::Uring => sys::write_uring(&opened, &map, 0, len, offset, || ())?,
            Direct::Torn => {
                map.unmap_from((len / 2).next_multiple_of(PAGE))?;
                // Whatever it says, the disk decides.
                let _ = sys::write_mapped(&opened, &map, 0, len, offset);
                return self.adopt(file);
            }
        };
        if written != len {
            return self.adopt(file);
        }
        self.enter(file, from, &stamps);
        Ok(None)
    }

    fn shape(&mut self, file: usize, how: Shape, from: usize, count: usize) -> Result<()> {
        let len = self.model[file].len();
        let (mode, blocks) = match how {
            Shape::Punch => (
                libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
                count,
            ),
            // ext4 of 7.3.4, without zcache as well: when a range begins inside
            // of a block and covers an end of file inside of a page that was
            // written, up to 512 bytes before that end stay as they were.
            Shape::Zero if from < len && len < from + count && len % PER_PAGE != 0 => {
                self.idle = true;
                return Ok(());
            }
            Shape::Zero => (libc::FALLOC_FL_ZERO_RANGE, count),
            // Neither may reach the end of the file.
            Shape::Collapse if from + count < len => (libc::FALLOC_FL_COLLAPSE_RANGE, count),
            Shape::Insert if from < len && len + count <= MOST => {
                (libc::FALLOC_FL_INSERT_RANGE, count)
            }
            Shape::Collapse | Shape::Insert => {
                self.idle = true;
                return Ok(());
            }
            Shape::Allocate => (0, count),
        };
        let (offset, bytes) = ((from * BLOCK) as u64, (blocks * BLOCK) as u64);
        sys::fallocate(&self.open(file)?, mode, offset, bytes)?;
        let model = &mut self.model[file];
        match how {
            Shape::Punch => {
                let end = len.min(from + count);
                if from < end {
                    model[from..end].fill(Stamp::HOLE);
                }
            }
            Shape::Zero | Shape::Allocate => {
                if len < from + count {
                    model.resize(from + count, Stamp::HOLE);
                }
                if how == Shape::Zero {
                    model[from..from + count].fill(Stamp::HOLE);
                }
            }
            Shape::Collapse => {
                model.drain(from..from + count);
            }
            Shape::Insert => {
                model.splice(from..from, vec![Stamp::HOLE; count]);
            }
        }
        Ok(())
    }

    /// Gives a file the blocks of a donor. The file must not change; the donor
    /// gets what was in the file's blocks, which the disk tells.
    fn relocate(
        &mut self,
        file: usize,
        donor: usize,
        from: usize,
        count: usize,
    ) -> Result<Option<Mismatch>> {
        let len = self.model[file].len().min(self.model[donor].len());
        let end = (from + count).min(len) / self.unit * self.unit;
        if from >= end {
            self.idle = true;
            return Ok(None);
        }
        let (a, b) = (self.open(file)?, self.open(donor)?);
        a.sync_all()?;
        b.sync_all()?;
        let (from, len) = (from / self.unit, (end - from) / self.unit);
        sys::move_extent(&a, &b, from as u64, len as u64)?;
        match self.check(file, Reading::Plain, 0, MOST)? {
            None => self.adopt(donor),
            found => Ok(found),
        }
    }

    /// Makes a file swap space and takes that back. Its content may be anything
    /// then, but what is read must be what is on the disk.
    fn swap(&mut self, file: usize) -> Result<Option<Mismatch>> {
        fs::remove_file(self.path(file))?;
        self.create(file)?;
        let stamps = self.stamps(file, 0, MOST);
        let mut data = bytes(&stamps);
        data[..PAGE].fill(0);
        data[1024..1028].copy_from_slice(&1u32.to_le_bytes());
        data[1028..1032].copy_from_slice(&((MOST / PER_PAGE - 1) as u32).to_le_bytes());
        data[PAGE - 10..PAGE].copy_from_slice(b"SWAPSPACE2");
        let opened = self.open(file)?;
        opened.write_all_at(&data, 0)?;
        opened.sync_all()?;
        sys::page_out(&opened, 0, MOST)?;
        sys::swap(&self.path(file), true)?;
        sys::swap(&self.path(file), false)?;
        let disk = self.read_direct(file, 0, MOST * BLOCK)?;
        opened.read_exact_at(&mut data, 0)?;
        let wrong = data.iter().zip(&disk).position(|(read, disk)| read != disk);
        self.checked += MOST as u64;
        fs::remove_file(self.path(file))?;
        self.create(file)?;
        Ok(wrong.map(|byte| Mismatch {
            file,
            text: format!("file {file}, byte {byte}: not what is on the disk after swapoff"),
        }))
    }

    fn read_direct(&self, file: usize, from: usize, len: usize) -> Result<Vec<u8>> {
        let opened = sys::open_direct(&self.path(file))?;
        let mut map = sys::Map::anonymous(len.next_multiple_of(PAGE).max(PAGE))?;
        let mut at = 0;
        while at < len {
            match opened.read_at(&mut map.bytes()[at..], (from + at) as u64)? {
                0 => bail!("file {file}: a direct read ended at byte {}", from + at),
                got => at += got,
            }
        }
        Ok(map.bytes()[..len].to_vec())
    }

    /// Reads a range and compares it; the length of the file counts as well.
    pub fn check(
        &mut self,
        file: usize,
        how: Reading,
        from: usize,
        count: usize,
    ) -> Result<Option<Mismatch>> {
        let opened = self.open(file)?;
        let len = opened.metadata()?.len();
        let blocks = self.model[file].len();
        if len != (blocks * BLOCK) as u64 {
            if self.errors {
                return self.adopt(file);
            }
            let text = format!("file {file} has {len} bytes, not {}", blocks * BLOCK);
            return Ok(Some(Mismatch { file, text }));
        }
        let end = blocks.min(from + count);
        if from >= end {
            self.idle = true;
            return Ok(None);
        }
        let mut data = vec![0; (end - from) * BLOCK];
        let offset = (from * BLOCK) as u64;
        match how {
            // A failed read through a mapping would be a signal.
            Reading::Mapped if !self.errors => {
                let map = sys::Map::of(&opened, len as usize, false)?;
                data.copy_from_slice(&map.shared()[from * BLOCK..end * BLOCK]);
            }
            Reading::Direct => data = self.read_direct(file, from * BLOCK, data.len())?,
            Reading::Spliced => {
                let mut at = 0;
                while at < data.len() {
                    let held = sys::Held::new(&opened, offset + at as u64, data.len() - at)?;
                    match held.read(&mut data[at..])? {
                        0 => bail!("file {file}: a pipe ended early"),
                        got => at += got,
                    }
                }
            }
            Reading::Ahead => {
                sys::fadvise(
                    &opened,
                    offset,
                    data.len() as u64,
                    libc::POSIX_FADV_WILLNEED,
                )?;
                opened.read_exact_at(&mut data, offset)?;
            }
            _ => opened.read_exact_at(&mut data, offset)?,
        }
        for (number, bytes) in data.chunks_exact(BLOCK).enumerate() {
            let place = from + number;
            let wanted = self.model[file][place];
            if !block::is(bytes, wanted) {
                if self.errors {
                    // A map of blocks that could not be written may be lost, and
                    // then the file is another. But the disk must agree.
                    return self.adopt(file);
                }
                let text = format!(
                    "file {file}, block {place}: wanted file {}, block {}, write {}; {how:?} read {}",
                    wanted.file,
                    wanted.place,
                    wanted.write,
                    block::describe(bytes)
                );
                return Ok(Some(Mismatch { file, text }));
            }
        }
        self.checked += (end - from) as u64;
        Ok(None)
    }

    /// Checks every file, and removes them all.
    pub fn finish(mut self) -> Result<(Option<Mismatch>, World)> {
        let mut found = None;
        for file in 0..self.model.len() {
            match self.check(file, Reading::Plain, 0, MOST) {
                Ok(None) => {}
                Ok(mismatch) => found = mismatch,
                Err(_) if self.errors => self.failures += 1,
                Err(error) => return Err(error),
            }
        }
        let _ = fs::remove_dir_all(&self.root);
        Ok((found, self))
    }
}

fn bytes(stamps: &[Stamp]) -> Vec<u8> {
    let mut data = vec![0; stamps.len() * BLOCK];
    for (bytes, stamp) in data.chunks_exact_mut(BLOCK).zip(stamps) {
        block::fill(bytes, *stamp);
    }
    data
}
