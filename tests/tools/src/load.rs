// SPDX-License-Identifier: GPL-2.0

//! The workloads of `bench/policy`, in a guest: what is read or filled, and
//! what that took.

use crate::counters::{self, Reads};
use crate::device::{self, Latency};
use crate::meter::Meter;
use crate::swapper::Random;
use anyhow::{bail, ensure, Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

const PAGE: usize = 4096;
const READ: usize = 128 << 10;
/// A random read: about what a program's page faults or a database fetch.
const PIECE: usize = 16 << 10;

/// Parts of what does not shrink, of which a pass takes one: an odd number, so
/// that in turns each part is met with zcache off and on.
const PARTS: usize = 7;

/// What to do and where the record goes.
pub struct Job {
    /// Name of the workload.
    pub workload: String,
    /// The folder with the files `real` and `noise`.
    pub root: PathBuf,
    /// How much of it; all if none.
    pub bytes: Option<u64>,
    /// How often.
    pub passes: usize,
    /// Where the record goes.
    pub json: PathBuf,
    /// The block device below, without `/dev/`.
    pub device: String,
    /// Read latency that the device was asked for, in milliseconds.
    pub asked_ms: u64,
    /// Reads to measure its latency with, before all else; 0 measures nothing.
    pub latency_reads: usize,
    /// Where zcache shows its counters.
    pub sysfs: PathBuf,
    /// Where both halves can be switched, for [`turns`].
    pub parameters: PathBuf,
    /// Pairs of turns.
    pub turns: usize,
}

/// What one guest measured.
#[derive(Debug, Serialize, Deserialize)]
pub struct Load {
    /// Name of the workload.
    pub workload: String,
    /// Name of the arm.
    pub arm: String,
    /// Release of the kernel.
    pub kernel: String,
    /// RAM that the kernel manages, in bytes.
    pub ram_bytes: u64,
    /// The working set.
    pub bytes: u64,
    /// Read latency that the device was asked for, in milliseconds.
    #[serde(default)]
    pub asked_ms: u64,
    /// Read latency that it had before the workload began.
    #[serde(default)]
    pub latency: Option<Latency>,
    /// Wall-clock time.
    pub seconds: f64,
    /// Processor time of the guest, as the host counts it.
    pub cpu_seconds: f64,
    /// Times that the disk was read.
    pub disk_reads: u64,
    /// Bytes that came from it.
    pub disk_read_bytes: u64,
    /// Pages that reclaim took, of files and of programs.
    pub reclaimed_pages: u64,
    /// By how much each number of zcache grew, or how it stands afterwards where
    /// it does not only grow; see [`counters::said_of`].
    pub counters: BTreeMap<String, i64>,
}

/// What is measured: everything between two looks.
struct Look {
    at: Instant,
    cpu_ns: u64,
    disk: Reads,
    reclaimed: u64,
    counters: BTreeMap<String, u64>,
}

impl Look {
    fn before(job: &Job, meter: &mut Meter) -> Result<Self> {
        let mut look = Look::new(job)?;
        look.cpu_ns = meter.cpu_ns()?;
        look.at = Instant::now();
        Ok(look)
    }

    /// The clocks first: a guest with zcache has a hundred counters to read.
    fn after(job: &Job, meter: &mut Meter) -> Result<Self> {
        let at = Instant::now();
        let cpu_ns = meter.cpu_ns()?;
        Ok(Look {
            at,
            cpu_ns,
            ..Look::new(job)?
        })
    }

    fn new(job: &Job) -> Result<Self> {
        Ok(Look {
            at: Instant::now(),
            cpu_ns: 0,
            disk: counters::disk_reads(&job.device)?,
            reclaimed: reclaimed()?,
            counters: counters::zcache(&job.sysfs)?,
        })
    }
}

fn reclaimed() -> Result<u64> {
    Ok(counters::vmstat("pgsteal_anon")? + counters::vmstat("pgsteal_file")?)
}

/// Runs the job once, as this arm, and writes its record.
///
/// # Errors
///
/// Anything that kept it from measuring, or an unknown workload.
pub fn run(job: &Job, arm: &str) -> Result<bool> {
    let mut work = Work::new(job)?;
    work.prepare()?;
    write(&job.json, &work.measure(arm)?)?;
    Ok(true)
}

/// Runs the job in pairs of turns: zcache is switched before each. The records
/// go beside `json`: `off-1.json`, `on-1.json`, `on-2.json` and so on.
///
/// # Errors
///
/// As [`run`], or what cannot be switched.
pub fn turns(job: &Job) -> Result<bool> {
    let mut work = Work::new(job)?;
    work.prepare()?;
    // The first pair finds what `prepare` has left, and does not count.
    for pair in 0..=job.turns {
        // Neither is always the first.
        let mut arms = ["off", "on"];
        if pair % 2 == 0 {
            arms.reverse();
        }
        for arm in arms {
            for half in ["cleancache", "frontswap"] {
                let switch = job.parameters.join(half);
                fs::write(&switch, arm).with_context(|| format!("{}", switch.display()))?;
            }
            let load = work.measure(arm)?;
            if pair > 0 {
                let name = format!("{arm}-{pair}.json");
                write(&job.json.with_file_name(name), &load)?;
            }
        }
    }
    Ok(true)
}

fn write(json: &Path, load: &Load) -> Result<()> {
    fs::write(json, serde_json::to_string_pretty(load)?)
        .with_context(|| format!("cannot write {}", json.display()))
}

/// A workload, and where it stands.
struct Work<'a> {
    job: &'a Job,
    meter: Meter,
    ram_bytes: u64,
    latency: Option<Latency>,
    file: File,
    bytes: u64,
    buffer: Vec<u8>,
    memory: Noise,
    /// Passes so far.
    pass: usize,
}

impl<'a> Work<'a> {
    fn new(job: &'a Job) -> Result<Self> {
        let meter = Meter::new(Path::new("/run/out"), Path::new("/run/host-proc"))?;
        let ram_bytes = counters::memory()?.total_bytes;
        let name = match job.workload.as_str() {
            "incompressible-files" => "noise",
            _ => "real",
        };
        let file = File::open(job.root.join(name)).with_context(|| name.to_string())?;
        let size = file.metadata()?.len();
        let bytes = job.bytes.unwrap_or(size);
        let from_file = job.workload != "incompressible-memory";
        ensure!(!from_file || bytes <= size, "the file is too small");
        Ok(Self {
            job,
            meter,
            ram_bytes,
            latency: device::latency(&job.device, job.latency_reads)?,
            file,
            bytes,
            buffer: vec![0; READ],
            memory: Noise::none(),
            pass: 0,
        })
    }

    /// Not measured: what has to be there before.
    fn prepare(&mut self) -> Result<()> {
        match self.job.workload.as_str() {
            "fits" | "fill" | "scan" => read(&self.file, 0..self.bytes, &mut self.buffer)?,
            "incompressible-memory" => self.memory = Noise::fill(self.bytes),
            "stream" | "full" | "clusters" | "incompressible-files" => {}
            other => bail!("no workload '{other}'"),
        }
        Ok(())
    }

    fn pass(&mut self) -> Result<()> {
        let part = self.pass % PARTS;
        self.pass += 1;
        let workload = self.job.workload.as_str();
        match workload {
            "fill" | "full" | "clusters" => {
                // Other places than in the one that comes before the others.
                let seed = self.pass as u64 + if workload == "fill" { 0 } else { 1 << 20 };
                read_at_random(&self.file, self.bytes, seed, &mut self.buffer)
            }
            "incompressible-memory" => self.memory.change(part),
            "incompressible-files" => {
                let pages = self.bytes as usize / PAGE;
                let [from, to] = [part, part + 1].map(|end| (pages * end / PARTS * PAGE) as u64);
                read(&self.file, from..to, &mut self.buffer)
            }
            _ => read(&self.file, 0..self.bytes, &mut self.buffer),
        }
    }

    /// All passes of one record.
    fn measure(&mut self, arm: &str) -> Result<Load> {
        let first = Look::before(self.job, &mut self.meter)?;
        for _ in 0..self.job.passes {
            self.pass()?;
        }
        let last = Look::after(self.job, &mut self.meter)?;
        let said = last.counters.iter().map(|(name, after)| {
            let before = first.counters.get(name).copied().unwrap_or(0);
            (name.clone(), counters::said_of(name, before, *after))
        });
        Ok(Load {
            workload: self.job.workload.clone(),
            arm: arm.to_string(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .to_string(),
            ram_bytes: self.ram_bytes,
            bytes: self.bytes,
            asked_ms: self.job.asked_ms,
            latency: self.latency.clone(),
            seconds: last.at.duration_since(first.at).as_secs_f64(),
            cpu_seconds: (last.cpu_ns - first.cpu_ns) as f64 / 1e9,
            disk_reads: last.disk.requests - first.disk.requests,
            disk_read_bytes: last.disk.bytes - first.disk.bytes,
            reclaimed_pages: last.reclaimed - first.reclaimed,
            counters: said.collect(),
        })
    }
}

/// A file of what cannot be compressed; the same seed makes the same.
///
/// # Errors
///
/// It cannot be written.
pub fn noise(to: &Path, bytes: u64, seed: u64) -> Result<bool> {
    let mut random = Random::new(seed);
    let mut file = BufWriter::new(File::create(to)?);
    for _ in 0..bytes / 8 {
        file.write_all(&random.next().to_le_bytes())?;
    }
    file.flush()?;
    Ok(true)
}

fn read(file: &File, range: Range<u64>, buffer: &mut [u8]) -> Result<()> {
    let mut at = range.start;
    while at < range.end {
        let part = (range.end - at).min(buffer.len() as u64) as usize;
        file.read_exact_at(&mut buffer[..part], at)?;
        at += part as u64;
    }
    Ok(())
}

/// A quarter as much as there is, in pieces from anywhere.
fn read_at_random(file: &File, bytes: u64, seed: u64, buffer: &mut [u8]) -> Result<()> {
    let mut random = Random::new(seed);
    let pieces = (bytes / PIECE as u64) as usize;
    for _ in 0..pieces / 4 {
        let at = (random.below(pieces) * PIECE) as u64;
        file.read_exact_at(&mut buffer[..PIECE], at)?;
    }
    Ok(())
}

/// Memory full of what cannot be compressed.
struct Noise {
    bytes: Vec<u8>,
    /// What each page begins with.
    first: Vec<u64>,
    random: Random,
}

impl Noise {
    fn none() -> Self {
        Self {
            bytes: Vec::new(),
            first: Vec::new(),
            random: Random::new(1),
        }
    }

    fn fill(bytes: u64) -> Self {
        let mut noise = Self::none();
        noise.bytes = vec![0; bytes as usize / PAGE * PAGE];
        for page in noise.bytes.chunks_exact_mut(PAGE) {
            for word in page.chunks_exact_mut(8) {
                word.copy_from_slice(&noise.random.next().to_ne_bytes());
            }
            noise
                .first
                .extend(page.first_chunk().map(|word| u64::from_ne_bytes(*word)));
        }
        noise
    }

    /// Looks at each page of a part, and changes it: so when it leaves memory again
    /// it has to be written.
    fn change(&mut self, part: usize) -> Result<()> {
        let [from, to] = [part, part + 1].map(|end| self.first.len() * end / PARTS);
        let pages = self.bytes.chunks_exact_mut(PAGE).zip(&mut self.first);
        for (page, first) in pages.skip(from).take(to - from) {
            ensure!(page[..8] == first.to_ne_bytes(), "a wrong page");
            *first = self.random.next();
            page[..8].copy_from_slice(&first.to_ne_bytes());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_changes_part_by_part_and_is_told_when_wrong() -> Result<()> {
        let pages = 2 * PARTS + 3;
        let mut noise = Noise::fill((pages * PAGE) as u64);
        let before = noise.bytes.clone();
        for part in 0..PARTS {
            noise.change(part)?;
        }
        let changed = before.chunks(PAGE).zip(noise.bytes.chunks(PAGE));
        assert!(changed.clone().all(|(old, new)| old[..8] != new[..8]));
        assert!(changed.clone().all(|(old, new)| old[8..] == new[8..]));
        assert_eq!(changed.count(), pages);
        let last = noise.bytes.len() - PAGE;
        noise.bytes[last] ^= 1;
        assert!(noise.change(0).is_ok());
        assert!(noise.change(PARTS - 1).is_err());
        Ok(())
    }
}
