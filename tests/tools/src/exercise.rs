// SPDX-License-Identifier: GPL-2.0

//! Changes files in every way in which a page in a second store could go
//! stale, and checks each byte that is read against a model.
//!
//! A file is a row of 512-byte blocks. A block knows its file, its place and
//! the number of the write that made it, so that a wrong one tells whose it is
//! and how old.

use anyhow::{bail, Context, Result};
use rustix::fs::{fadvise, fallocate, Advice, FallocateFlags, OFlags};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const BLOCK: usize = 512;
/// What a direct write is aligned to.
const DIRECT: usize = 4096;
/// Blocks of the largest file: 2 MiB.
const MOST_BLOCKS: usize = 4096;
/// Blocks of the largest single change: 256 KiB.
const MOST_CHANGED: usize = 512;

/// What to do.
pub struct Job {
    /// A folder on the file system to exercise.
    pub root: PathBuf,
    /// How long.
    pub seconds: u64,
    /// The same seed does the same.
    pub seed: u64,
    /// How many files, at most 2 MiB each.
    pub files: usize,
    /// Memory to take and give back now and then, in MiB.
    pub squeeze_mib: usize,
}

/// Runs the job; false if a byte was wrong.
///
/// # Errors
///
/// An operation that the file system refused.
pub fn run(job: &Job) -> Result<bool> {
    let mut model = Model::new(job)?;
    let end = Instant::now() + Duration::from_secs(job.seconds);
    let mut count = 0u64;
    while Instant::now() < end {
        model.step()?;
        count += 1;
    }
    for file in 0..model.files.len() {
        model.check_all(file)?;
    }
    println!(
        "exercise: seed {}: {count} operations, {} blocks checked, {} wrong",
        job.seed,
        model.checked,
        model.wrong.len()
    );
    Ok(model.wrong.is_empty())
}

/// xorshift64*: the same numbers for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// What each block of each file must hold: the number of the write that made
/// it, 0 for a hole.
struct Model {
    paths: Vec<PathBuf>,
    files: Vec<Vec<u32>>,
    writes: u32,
    random: Random,
    squeeze: usize,
    checked: u64,
    wrong: Vec<String>,
}

impl Model {
    fn new(job: &Job) -> Result<Self> {
        let mut model = Model {
            paths: Vec::new(),
            files: vec![Vec::new(); job.files.max(1)],
            writes: 0,
            random: Random(job.seed | 1 << 40),
            squeeze: job.squeeze_mib << 20,
            checked: 0,
            wrong: Vec::new(),
        };
        for number in 0..model.files.len() {
            let path = job.root.join(format!("exercise.{number}"));
            File::create(&path).with_context(|| format!("{}", path.display()))?;
            model.paths.push(path);
        }
        Ok(model)
    }

    /// One operation on one file, chosen at random.
    fn step(&mut self) -> Result<()> {
        let file = self.random.below(self.files.len());
        match self.random.below(100) {
            0..=24 => self.write(file, false),
            25..=29 => self.write(file, true),
            30..=36 => self.truncate(file),
            37..=41 => self.punch(file),
            42..=43 => self.replace(file),
            44..=47 => Ok(self.open(file)?.sync_data()?),
            48..=49 => {
                self.open(file)?.sync_data()?;
                fadvise(self.open(file)?, 0, None, Advice::DontNeed)?;
                Ok(())
            }
            50 => {
                // Touched, or the kernel would not have to find it.
                let memory = vec![0xa5u8; self.squeeze];
                std::hint::black_box(&memory);
                Ok(())
            }
            51..=70 => self.check_all(file).map(|_| ()),
            _ => {
                let (from, count) = self.range(1);
                self.check(file, from, count).map(|_| ())
            }
        }
    }

    fn open(&self, file: usize) -> Result<File> {
        let path = &self.paths[file];
        let opened = OpenOptions::new().read(true).write(true).open(path);
        opened.with_context(|| format!("{}", path.display()))
    }

    /// A range of blocks within the largest file, in steps of `unit` blocks.
    fn range(&mut self, unit: usize) -> (usize, usize) {
        let from = self.random.below(MOST_BLOCKS / unit) * unit;
        let count = (1 + self.random.below(MOST_CHANGED / unit)) * unit;
        (from, count.min(MOST_BLOCKS - from))
    }

    fn write(&mut self, file: usize, direct: bool) -> Result<()> {
        let unit = if direct { DIRECT / BLOCK } else { 1 };
        let (from, count) = self.range(unit);
        self.writes += 1;
        let blocks = &mut self.files[file];
        if blocks.len() < from + count {
            blocks.resize(from + count, 0);
        }
        blocks[from..from + count].fill(self.writes);
        // O_DIRECT wants memory aligned as the device's blocks are.
        let mut memory = vec![0; count * BLOCK + DIRECT];
        let start = memory.as_ptr().align_offset(DIRECT);
        let data = &mut memory[start..start + count * BLOCK];
        for (number, block) in data.chunks_exact_mut(BLOCK).enumerate() {
            fill(block, file, from + number, self.writes);
        }
        let mut options = OpenOptions::new();
        options.write(true);
        if direct {
            options.custom_flags(OFlags::DIRECT.bits() as i32);
        }
        options
            .open(&self.paths[file])?
            .write_all_at(data, (from * BLOCK) as u64)
            .with_context(|| format!("write, direct: {direct}"))
    }

    fn truncate(&mut self, file: usize) -> Result<()> {
        let blocks = self.random.below(MOST_BLOCKS + 1);
        self.open(file)?.set_len((blocks * BLOCK) as u64)?;
        self.files[file].resize(blocks, 0);
        Ok(())
    }

    fn punch(&mut self, file: usize) -> Result<()> {
        let (from, count) = self.range(1);
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let (offset, bytes) = ((from * BLOCK) as u64, (count * BLOCK) as u64);
        fallocate(self.open(file)?, flags, offset, bytes)?;
        for block in self.files[file].iter_mut().skip(from).take(count) {
            *block = 0;
        }
        Ok(())
    }

    /// Unlinks a file and makes it anew: its inode number may come back.
    fn replace(&mut self, file: usize) -> Result<()> {
        fs::remove_file(&self.paths[file])?;
        File::create(&self.paths[file])?;
        self.files[file].clear();
        Ok(())
    }

    fn check_all(&mut self, file: usize) -> Result<bool> {
        self.check(file, 0, MOST_BLOCKS)
    }

    /// Reads a range and compares it; the length of the file counts as well.
    fn check(&mut self, file: usize, from: usize, count: usize) -> Result<bool> {
        let opened = self.open(file)?;
        let length = opened.metadata()?.len();
        let blocks = &self.files[file];
        if length != (blocks.len() * BLOCK) as u64 {
            bail!(
                "exercise.{file} has {length} bytes, not {}",
                blocks.len() * BLOCK
            );
        }
        let end = blocks.len().min(from + count);
        let mut data = vec![0; end.saturating_sub(from) * BLOCK];
        opened.read_exact_at(&mut data, (from * BLOCK) as u64)?;
        let mut wanted = [0; BLOCK];
        let before = self.wrong.len();
        for (number, block) in data.chunks_exact(BLOCK).enumerate() {
            let place = from + number;
            fill(&mut wanted, file, place, blocks[place]);
            if block != wanted {
                let text = format!(
                    "exercise.{file}, block {place}: wanted write {}, found {}",
                    blocks[place],
                    describe(block)
                );
                println!("wrong: {text}");
                self.wrong.push(text);
            }
            self.checked += 1;
        }
        if self.wrong.len() > 20 {
            bail!("too much is wrong to go on");
        }
        Ok(self.wrong.len() == before)
    }
}

/// The content of a block: its name, then bytes of which half repeat.
fn fill(block: &mut [u8], file: usize, place: usize, write: u32) {
    block.fill(0);
    if write == 0 {
        return;
    }
    block[..4].copy_from_slice(&(file as u32).to_le_bytes());
    block[4..8].copy_from_slice(&(place as u32).to_le_bytes());
    block[8..12].copy_from_slice(&write.to_le_bytes());
    let mut random = Random(u64::from(write) << 32 | place as u64 | 1 << 63);
    for word in block[12..].chunks_mut(8).step_by(2) {
        let bytes = random.next().to_le_bytes();
        let length = word.len();
        word.copy_from_slice(&bytes[..length]);
    }
}

fn describe(block: &[u8]) -> String {
    let number = |at: usize| {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&block[at..at + 4]);
        u32::from_le_bytes(bytes)
    };
    if block.iter().all(|byte| *byte == 0) {
        return "zeros".to_string();
    }
    format!(
        "file {}, block {}, write {}",
        number(0),
        number(4),
        number(8)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn job(root: &Path) -> Job {
        Job {
            root: root.to_path_buf(),
            seconds: 1,
            seed: 7,
            files: 3,
            squeeze_mib: 1,
        }
    }

    #[test]
    fn a_file_system_that_works_passes() -> Result<()> {
        let root = tempfile::tempdir()?;
        assert!(run(&job(root.path()))?);
        Ok(())
    }

    #[test]
    fn a_stale_block_is_found_and_named() -> Result<()> {
        let root = tempfile::tempdir()?;
        let mut model = Model::new(&job(root.path()))?;
        let mut old = [0; BLOCK];
        fill(&mut old, 1, 5, 1);
        model.files[1] = vec![2; 8];
        let mut data = vec![0; 8 * BLOCK];
        for (place, block) in data.chunks_exact_mut(BLOCK).enumerate() {
            fill(block, 1, place, 2);
        }
        fs::write(&model.paths[1], &data)?;
        assert!(model.check_all(1)?);
        model.open(1)?.write_all_at(&old, 5 * BLOCK as u64)?;
        assert!(!model.check_all(1)?);
        assert_eq!(
            model.wrong,
            ["exercise.1, block 5: wanted write 2, found file 1, block 5, write 1"]
        );
        Ok(())
    }
}
