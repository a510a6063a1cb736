// SPDX-License-Identifier: GPL-2.0

//! What a page costs on its way out to swap and back: the memory of real
//! programs, pushed out and read in again by the kernel, over and over.
//!
//! It is read in with `MADV_WILLNEED`, page by page into the swap cache, and
//! mapped by faults only after that: in user-mode Linux a fault takes ten times
//! as long as all that happens to the page, and hides it.

use anyhow::{ensure, Context, Result};
use memmap2::{Advice, MmapMut};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

const PAGE: usize = 4096;
/// How often the kernel is asked for all of it at the most: one request ends
/// early where pages are in use.
const REQUESTS: usize = 8;

/// What to do.
pub struct Job {
    /// Name of the arm.
    pub arm: String,
    /// Pages to have in memory, one after the other.
    pub pages: PathBuf,
    /// How often they go out and come back.
    pub rounds: usize,
    /// `memory.reclaim` of the cgroup that this runs in.
    pub reclaim: PathBuf,
    /// Where the record goes.
    pub json: PathBuf,
}

/// Runs the job; false if a byte was wrong.
///
/// # Errors
///
/// No such pages, or a kernel that swaps out less than nine in ten of them.
pub fn run(job: &Job) -> Result<bool> {
    let name = || format!("{}", job.pages.display());
    let mut pages = File::open(&job.pages).with_context(name)?;
    let len = usize::try_from(pages.metadata()?.len())?;
    let (mut out_ns, mut in_ns) = (Vec::new(), Vec::new());
    let mut right = true;
    for _ in 0..job.rounds {
        // New memory each time: pages that come back from swap may become active,
        // and reclaim for one cgroup leaves active pages alone.
        let mut memory = MmapMut::map_anon(len)?;
        pages.rewind()?;
        pages.read_exact(&mut memory).with_context(name)?;
        let hash = xxh3_64(&memory);
        let before = swapped_pages()?;
        let begun = Instant::now();
        for _ in 0..REQUESTS {
            // What cannot be had is counted below.
            let _ = fs::write(
                &job.reclaim,
                format!("{}K swappiness=max", memory.len() >> 10),
            );
            if swapped_pages()? * PAGE >= memory.len() / 10 * 9 {
                break;
            }
        }
        let out = begun.elapsed();
        let swapped = swapped_pages()?;
        ensure!(
            swapped * PAGE >= memory.len() / 10 * 9,
            "only {swapped} pages were swapped out"
        );
        out_ns.push(out.as_nanos() as f64 / (swapped - before) as f64);

        let cached = swap_cache_pages()?;
        let begun = Instant::now();
        memory.advise(Advice::WillNeed)?;
        let back = begun.elapsed();
        let read = swap_cache_pages()?.saturating_sub(cached);
        ensure!(
            read * 10 >= swapped * 9,
            "only {read} of {swapped} pages were read in"
        );
        in_ns.push(back.as_nanos() as f64 / read as f64);
        right &= xxh3_64(&memory) == hash;
    }
    println!(
        "{}: {:.0} ns a page out, {:.0} ns in, median of {} rounds{}",
        job.arm,
        median(&out_ns),
        median(&in_ns),
        job.rounds,
        if right { "" } else { "; WRONG content" }
    );
    let records = [
        Record::new(&job.arm, "out_ns", out_ns),
        Record::new(&job.arm, "in_ns", in_ns),
    ];
    write(&job.json, &records)?;
    Ok(right)
}

/// Samples of one figure in one arm, as in `out/bench.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    workload: String,
    arm: String,
    metric: String,
    unit: String,
    samples: Vec<f64>,
}

impl Record {
    fn new(arm: &str, metric: &str, samples: Vec<f64>) -> Self {
        Record {
            workload: "swap-cost".to_string(),
            arm: arm.to_string(),
            metric: metric.to_string(),
            unit: "ns".to_string(),
            samples,
        }
    }
}

fn write(json: &Path, records: &[Record]) -> Result<()> {
    fs::write(json, serde_json::to_string_pretty(records)? + "\n")
        .with_context(|| format!("cannot write {}", json.display()))
}

/// Puts pairs of records side by side: of two that follow each other, the first
/// is zcache's and the second zswap's.
///
/// # Errors
///
/// A record that cannot be read or misses a figure, or an odd number of them.
pub fn report(json: &Path, files: &[PathBuf]) -> Result<bool> {
    ensure!(
        !files.is_empty() && files.len() % 2 == 0,
        "records come in pairs"
    );
    let mut all = Vec::new();
    println!("ns a page   zcache    zswap   zcache / zswap, by pair");
    for metric in ["out_ns", "in_ns"] {
        let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for pair in files.chunks_exact(2) {
            let figure = |file: &PathBuf| -> Result<f64> {
                let text = fs::read_to_string(file)?;
                let records: Vec<Record> = serde_json::from_str(&text)?;
                let found = records.iter().find(|record| record.metric == metric);
                let record = found.with_context(|| format!("{metric} is missing"))?;
                Ok(median(&record.samples))
            };
            let figure = |file| figure(file).with_context(|| format!("{}", file.display()));
            let (our, their) = (figure(&pair[0])?, figure(&pair[1])?);
            ours.push(our);
            theirs.push(their);
            ratios.push(our / their);
        }
        ratios.sort_by(f64::total_cmp);
        println!(
            "{metric:<8} {:>9.0} {:>8.0}   {:.3} ({:.3} to {:.3})",
            median(&ours),
            median(&theirs),
            median(&ratios),
            ratios[0],
            ratios[ratios.len() - 1]
        );
        all.push(Record::new("zcache", metric, ours));
        all.push(Record::new("zswap", metric, theirs));
    }
    write(json, &all)?;
    Ok(true)
}

/// The middle one, or the lower of the two in the middle; 0 if there is none.
fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len().saturating_sub(1) / 2;
    sorted.get(middle).copied().unwrap_or(0.0)
}

/// Pages of this process that are in swap.
fn swapped_pages() -> Result<usize> {
    pages_in("/proc/self/status", "VmSwap:")
}

/// Pages in the swap cache.
fn swap_cache_pages() -> Result<usize> {
    pages_in("/proc/meminfo", "SwapCached:")
}

/// The KiB behind `word` in `file`, in pages.
fn pages_in(file: &str, word: &str) -> Result<usize> {
    let text = fs::read_to_string(file)?;
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix(word))
        .and_then(|rest| rest.split_whitespace().next())
        .with_context(|| format!("no {word} in {file}"))?;
    Ok(kib.parse::<usize>()? * 1024 / PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_one_of_the_samples() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0]), 3.0);
        assert_eq!(median(&[4.0, 1.0]), 1.0);
        assert_eq!(median(&[9.0, 1.0, 4.0]), 4.0);
    }

    #[test]
    fn pairs_are_put_side_by_side() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut files = Vec::new();
        for (arm, factor) in [
            ("zcache", 1.0),
            ("zswap", 2.0),
            ("zcache", 3.0),
            ("zswap", 3.0),
        ] {
            let file = folder.path().join(format!("{}", files.len()));
            let records = [
                Record::new(arm, "out_ns", vec![10.0 * factor; 3]),
                Record::new(arm, "in_ns", vec![factor]),
            ];
            write(&file, &records)?;
            files.push(file);
        }
        let json = folder.path().join("json");
        assert!(report(&json, &files)?);
        let records: Vec<Record> = serde_json::from_str(&fs::read_to_string(json)?)?;
        assert_eq!(records.len(), 4);
        assert_eq!(records[0].samples, [10.0, 30.0]);
        assert_eq!(records[3].samples, [2.0, 3.0]);
        assert!(report(folder.path(), &files[..3]).is_err());
        Ok(())
    }

    #[test]
    fn pages_that_stay_are_an_error() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let pages = folder.path().join("pages");
        fs::write(&pages, vec![1; 16 * PAGE])?;
        let job = Job {
            arm: "none".to_string(),
            pages,
            rounds: 1,
            reclaim: folder.path().join("reclaim"),
            json: folder.path().join("json"),
        };
        assert!(run(&job).is_err());
        Ok(())
    }
}
