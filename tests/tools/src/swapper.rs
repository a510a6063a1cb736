// SPDX-License-Identifier: GPL-2.0

//! Memory that is swapped out and in while it changes, in one process and in
//! many that share it after a fork. Each page that is read is checked against
//! a model.
//!
//! A page's content follows from its number, the number of the write that made
//! it, and its kind; so a wrong page tells whose it is and how old. The kinds
//! go separate ways through swap: zeroes are only marked, a repeated word takes
//! no memory in zcache, noise does not compress, the rest does.

use anyhow::{bail, Context, Result};
use fork::Fork;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, Instant};

const PAGE: usize = 4096;
/// Wrong pages named in full, the rest are counted.
const NAMED: u64 = 5;
/// Operations between two looks at the clock.
const BATCH: usize = 64;

/// What to do.
pub struct Job {
    /// Memory to work on, in MiB.
    pub mib: usize,
    /// How long.
    pub seconds: u64,
    /// The same seed does the same.
    pub seed: u64,
    /// Children alive at one time, each with the parent's memory; 0 for none.
    pub children: usize,
    /// `memory.reclaim` of the cgroup that this runs in, to force pages out.
    pub reclaim: Option<PathBuf>,
}

/// Runs the job; false if a byte was wrong.
///
/// # Errors
///
/// No memory for it, or a child that cannot be had.
pub fn run(job: &Job) -> Result<bool> {
    let mut memory = Memory::new(job.mib << 8, job.seed);
    let end = Instant::now() + Duration::from_secs(job.seconds);
    let mut children = Vec::new();
    let (mut steps, mut forks, mut bad_children) = (0u64, 0u64, 0u64);
    while Instant::now() < end {
        for _ in 0..BATCH {
            memory.step();
            steps += 1;
        }
        if let Some(reclaim) = &job.reclaim {
            // Never a whole set at once; what cannot be had is not an error.
            push_out(reclaim, 1 + memory.random.below(job.mib / 4 + 1));
        }
        if children.len() < job.children {
            match fork::fork().context("fork")? {
                Fork::Child => child(&mut memory, steps),
                Fork::Parent(pid) => children.push(pid),
            }
            forks += 1;
        }
        if children.len() == job.children && job.children > 0 {
            let pid = children.remove(0);
            bad_children += u64::from(fork::waitpid(pid).context("waitpid")? != 0);
        }
    }
    for pid in children {
        bad_children += u64::from(fork::waitpid(pid).context("waitpid")? != 0);
    }
    memory.check_all();
    println!(
        "swapper: seed {}: {steps} operations, {forks} forks, {} pages checked, {} wrong, \
         {bad_children} children failed",
        job.seed, memory.checked, memory.wrong
    );
    Ok(memory.wrong == 0 && bad_children == 0)
}

/// A child has its parent's pages until one of them writes; it goes on with
/// its own copy, and checks half of it all before it ends.
fn child(memory: &mut Memory, steps: u64) -> ! {
    memory.random = Random::new(steps ^ 0x5eed);
    for _ in 0..2 * BATCH {
        memory.step();
    }
    let half = memory.model.len() / 2;
    for _ in 0..half {
        let page = memory.random.below(memory.model.len());
        memory.check(page);
    }
    process::exit(i32::from(memory.wrong != 0));
}

/// Asks for MiB to leave the cgroup's memory, swap first.
fn push_out(reclaim: &Path, mib: usize) {
    let _ = fs::write(reclaim, format!("{mib}M swappiness=max"));
}

/// xorshift64*: the same numbers for the same seed.
pub struct Random(u64);

impl Random {
    /// A source whose numbers follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// What a page is filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Zeroes,
    Word,
    Records,
    Half,
    Noise,
}

impl Kind {
    /// Half of all pages are of the middling sort.
    fn pick(random: &mut Random) -> Self {
        match random.below(8) {
            0 => Kind::Zeroes,
            1 => Kind::Word,
            2 => Kind::Noise,
            3 => Kind::Half,
            _ => Kind::Records,
        }
    }
}

/// What a page must hold.
#[derive(Clone, Copy)]
struct Expected {
    write: u32,
    kind: Kind,
}

/// Pages and their model.
struct Memory {
    bytes: Vec<u8>,
    /// Where the first whole page of `bytes` begins.
    start: usize,
    model: Vec<Expected>,
    random: Random,
    writes: u32,
    checked: u64,
    wrong: u64,
}

impl Memory {
    fn new(pages: usize, seed: u64) -> Self {
        let bytes = vec![0; (pages + 1) * PAGE];
        let start = bytes.as_ptr().align_offset(PAGE);
        let fresh = Expected {
            write: 0,
            kind: Kind::Zeroes,
        };
        let mut memory = Memory {
            bytes,
            start,
            model: vec![fresh; pages],
            random: Random::new(seed),
            writes: 0,
            checked: 0,
            wrong: 0,
        };
        for page in 0..pages {
            memory.rewrite(page);
        }
        memory
    }

    fn page(&mut self, page: usize) -> &mut [u8] {
        let begin = self.start + page * PAGE;
        &mut self.bytes[begin..begin + PAGE]
    }

    /// One operation: mostly reads, in runs, as programs do.
    fn step(&mut self) {
        let pages = self.model.len();
        let first = self.random.below(pages);
        let run = 1 + self.random.below(8);
        let what = self.random.below(10);
        for page in first..(first + run).min(pages) {
            match what {
                0..=5 => self.check(page),
                6..=7 => self.rewrite(page),
                // To zeroes and on to something else, or the other way round.
                8 => self.rewrite_as(page, Kind::Zeroes),
                _ => self.change(page),
            }
        }
    }

    fn rewrite(&mut self, page: usize) {
        let kind = Kind::pick(&mut self.random);
        self.rewrite_as(page, kind);
    }

    fn rewrite_as(&mut self, page: usize, kind: Kind) {
        self.writes += 1;
        let expected = Expected {
            write: self.writes,
            kind,
        };
        self.model[page] = expected;
        fill(self.page(page), page, expected);
    }

    /// Reads the page, and writes it new only if it was right before.
    fn change(&mut self, page: usize) {
        self.check(page);
        self.rewrite(page);
    }

    fn check(&mut self, page: usize) {
        let expected = self.model[page];
        let mut right = [0; PAGE];
        fill(&mut right, page, expected);
        self.checked += 1;
        if self.page(page)[..] == right[..] {
            return;
        }
        self.wrong += 1;
        if self.wrong <= NAMED {
            println!(
                "wrong: page {page}: not {:?} of write {}: {}",
                expected.kind,
                expected.write,
                guess(self.page(page))
            );
        }
    }

    fn check_all(&mut self) {
        for page in 0..self.model.len() {
            self.check(page);
        }
    }
}

/// Fills a page as its number and its model say.
fn fill(bytes: &mut [u8], page: usize, expected: Expected) {
    let name = [page as u32, expected.write];
    let mut noise = Random::new((page as u64) << 32 | u64::from(expected.write));
    match expected.kind {
        Kind::Zeroes => bytes.fill(0),
        Kind::Word => {
            let word = (noise.next() as u32 | 1).to_ne_bytes();
            bytes
                .chunks_exact_mut(4)
                .for_each(|to| to.copy_from_slice(&word));
        }
        Kind::Records => records(bytes, name, 0),
        Kind::Half => {
            let (first, second) = bytes.split_at_mut(PAGE / 2);
            records(first, name, 0);
            random_bytes(second, &mut noise);
        }
        Kind::Noise => {
            random_bytes(bytes, &mut noise);
            bytes[..8]
                .copy_from_slice(&(u64::from(name[0]) << 32 | u64::from(name[1])).to_ne_bytes());
        }
    }
}

/// Small records with a running number, as arrays of structures have.
fn records(bytes: &mut [u8], name: [u32; 2], first: u32) {
    for (number, record) in bytes.chunks_exact_mut(16).enumerate() {
        record[..4].copy_from_slice(&name[0].to_ne_bytes());
        record[4..8].copy_from_slice(&name[1].to_ne_bytes());
        record[8..12].copy_from_slice(&(first + number as u32).to_ne_bytes());
        record[12..].copy_from_slice(b"zc\0\0");
    }
}

fn random_bytes(bytes: &mut [u8], random: &mut Random) {
    for chunk in bytes.chunks_exact_mut(8) {
        chunk.copy_from_slice(&random.next().to_ne_bytes());
    }
}

/// Whose content a wrong page holds.
fn guess(bytes: &[u8]) -> String {
    if bytes.iter().all(|byte| *byte == 0) {
        return "zeroes".to_string();
    }
    let word = |at: usize| {
        let mut four = [0; 4];
        four.copy_from_slice(&bytes[at..at + 4]);
        u32::from_ne_bytes(four)
    };
    if bytes[12..16] == *b"zc\0\0" {
        return format!("page {} of write {}", word(0), word(4));
    }
    format!("{:08x} {:08x} {:08x}", word(0), word(4), word(8))
}

/// Touches memory until a page cannot be read: the kernel ends this process
/// then (SIGBUS), and it must be this one alone.
///
/// # Errors
///
/// All pages could be read.
pub fn victim(job: &Job) -> Result<bool> {
    let mut memory = Memory::new(job.mib << 8, job.seed);
    if let Some(reclaim) = &job.reclaim {
        push_out(reclaim, job.mib);
    }
    for _ in 0..4 {
        memory.check_all();
    }
    if memory.wrong > 0 {
        println!("victim: {} pages were wrong and not an error", memory.wrong);
        return Ok(false);
    }
    bail!("victim: all pages could be read");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_another_place_time_or_kind_is_wrong() {
        let kinds = [
            Kind::Zeroes,
            Kind::Word,
            Kind::Records,
            Kind::Half,
            Kind::Noise,
        ];
        let content = |page, write, kind| {
            let mut bytes = vec![0xff; PAGE];
            fill(&mut bytes, page, Expected { write, kind });
            bytes
        };
        for kind in kinds {
            assert!(content(3, 7, kind) == content(3, 7, kind));
            for other in kinds {
                if kind != other {
                    assert!(content(3, 7, kind) != content(3, 7, other));
                }
            }
            if kind != Kind::Zeroes {
                assert!(content(3, 7, kind) != content(4, 7, kind));
                assert!(content(3, 7, kind) != content(3, 8, kind));
            }
        }
    }

    #[test]
    fn what_was_written_is_what_is_expected() {
        let mut memory = Memory::new(64, 5);
        for _ in 0..1000 {
            memory.step();
        }
        memory.check_all();
        assert_eq!(memory.wrong, 0);
        assert!(memory.checked > 64);
        memory.page(9)[100] ^= 1;
        memory.check_all();
        assert_eq!(memory.wrong, 1);
    }
}
