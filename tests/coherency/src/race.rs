// SPDX-License-Identifier: GPL-2.0

//! One file that a thread writes while others read it and have it reclaimed.
//!
//! A reader cannot know which of two writes it sees while one is under way. But
//! it must see none that is older than the last one that had ended before the
//! read began, and none that has not begun.

use crate::block::{self, Random, Stamp, BLOCK, PAGE, PER_PAGE};
use crate::op::Direct;
use crate::sys;
use anyhow::{bail, Context, Result};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

/// Pages of the file.
const PAGES: usize = 64;

struct Shared {
    begun: Vec<AtomicU32>,
    ended: Vec<AtomicU32>,
    stop: AtomicBool,
    checked: AtomicU64,
}

/// Races for a while; returns pages checked, or what was wrong.
///
/// # Errors
///
/// What was wrong, or an operation that failed.
pub fn run(path: &Path, seed: u64, time: Duration, how: Option<Direct>) -> Result<u64> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true);
    let file = options
        .open(path)
        .with_context(|| path.display().to_string())?;
    let shared = Shared {
        begun: (0..PAGES).map(|_| AtomicU32::new(1)).collect(),
        ended: (0..PAGES).map(|_| AtomicU32::new(1)).collect(),
        stop: AtomicBool::new(false),
        checked: AtomicU64::new(0),
    };
    file.write_all_at(&data(0, PAGES, 1), 0)?;
    file.sync_all()?;
    let result = thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|number| {
                let (shared, file) = (&shared, &file);
                scope.spawn(move || {
                    let result = read(shared, file, Random::new(seed ^ (number + 1) << 40));
                    shared.stop.store(true, SeqCst);
                    result
                })
            })
            .collect();
        let result = write(&shared, path, Random::new(seed), time, how);
        shared.stop.store(true, SeqCst);
        let mut all = vec![result];
        for reader in readers {
            all.push(match reader.join() {
                Ok(result) => result,
                Err(_) => bail!("a reader died"),
            });
        }
        all.into_iter().collect::<Result<Vec<()>>>()
    });
    let _ = std::fs::remove_file(path);
    result.with_context(|| format!("race, {how:?} writes"))?;
    Ok(shared.checked.load(SeqCst))
}

fn data(page: usize, pages: usize, write: u32) -> Vec<u8> {
    let mut data = vec![0; pages * PAGE];
    for (number, bytes) in data.chunks_exact_mut(BLOCK).enumerate() {
        let place = (page * PER_PAGE + number) as u32;
        let stamp = Stamp {
            file: 1,
            place,
            write,
        };
        block::fill(bytes, stamp);
    }
    data
}

fn write(
    shared: &Shared,
    path: &Path,
    mut random: Random,
    time: Duration,
    how: Option<Direct>,
) -> Result<()> {
    let plain = OpenOptions::new().write(true).open(path)?;
    let direct = sys::open_direct(path)?;
    let start = Instant::now();
    let mut number = 1;
    while start.elapsed() < time && !shared.stop.load(SeqCst) {
        number += 1;
        let page = random.below(PAGES);
        let pages = (1 + random.below(8)).min(PAGES - page);
        let data = data(page, pages, number);
        let offset = (page * PAGE) as u64;
        let range = page..page + pages;
        for page in range.clone() {
            shared.begun[page].store(number, SeqCst);
        }
        match how {
            None => plain.write_all_at(&data, offset)?,
            Some(how) => {
                let mut map = sys::Map::anonymous(data.len())?;
                map.bytes().copy_from_slice(&data);
                let written = match how {
                    Direct::Aio => {
                        sys::write_aio(&direct, &map, 0, data.len(), offset, || sys::sleep_ms(1))?
                    }
                    Direct::Uring => {
                        sys::write_uring(&direct, &map, 0, data.len(), offset, || {
                            sys::sleep_ms(1);
                        })?
                    }
                    _ => sys::write_mapped(&direct, &map, 0, data.len(), offset)?,
                };
                if written != data.len() {
                    bail!("a direct write of {} bytes wrote {written}", data.len());
                }
            }
        }
        for page in range.clone() {
            shared.ended[page].store(number, SeqCst);
        }
        if how.is_none() && random.one_in(4) {
            plain.sync_data()?;
        }
        if random.one_in(3) {
            thread::yield_now();
        }
    }
    Ok(())
}

fn read(shared: &Shared, file: &File, mut random: Random) -> Result<()> {
    let mut data = vec![0; 16 * PAGE];
    while !shared.stop.load(SeqCst) {
        let page = random.below(PAGES);
        let pages = (1 + random.below(16)).min(PAGES - page);
        let range = page..page + pages;
        let oldest: Vec<u32> = shared.ended[range.clone()]
            .iter()
            .map(|write| write.load(SeqCst))
            .collect();
        let data = &mut data[..pages * PAGE];
        file.read_exact_at(data, (page * PAGE) as u64)?;
        let newest: Vec<u32> = shared.begun[range]
            .iter()
            .map(|write| write.load(SeqCst))
            .collect();
        for (number, bytes) in data.chunks_exact(BLOCK).enumerate() {
            let place = page * PER_PAGE + number;
            let (oldest, newest) = (oldest[number / PER_PAGE], newest[number / PER_PAGE]);
            let right = match block::read(bytes) {
                Some(stamp) => {
                    stamp.place as usize == place && (oldest..=newest).contains(&stamp.write)
                }
                // A write that is under way may be seen in part.
                None => oldest < newest,
            };
            if !right {
                bail!(
                    "block {place}: wanted a write from {oldest} to {newest}, read {}",
                    block::describe(bytes)
                );
            }
        }
        shared.checked.fetch_add(pages as u64, SeqCst);
        match random.below(6) {
            0 => sys::page_out(file, 0, PAGES)?,
            1 => sys::page_out(file, page, page + pages)?,
            2 => sys::fadvise(file, 0, 0, libc::POSIX_FADV_DONTNEED)?,
            _ => thread::yield_now(),
        }
    }
    Ok(())
}
