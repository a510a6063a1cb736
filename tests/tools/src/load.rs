// SPDX-License-Identifier: GPL-2.0

//! The workloads of `bench/policy`, in a guest: what is read or filled, and
//! what that took.

use crate::counters;
use crate::meter::Meter;
use crate::swapper::Random;
use anyhow::{bail, ensure, Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

const PAGE: usize = 4096;
const READ: usize = 128 << 10;
/// A random read: about what a program's page faults or a database fetch.
const PIECE: usize = 16 << 10;

/// What to do and where the record goes.
pub struct Job {
    /// Name of the workload.
    pub workload: String,
    /// Name of the arm.
    pub arm: String,
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
    /// Where zcache shows its counters.
    pub sysfs: PathBuf,
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
    /// Wall-clock time.
    pub seconds: f64,
    /// Processor time of the guest, as the host counts it.
    pub cpu_seconds: f64,
    /// Bytes that came from the disk.
    pub disk_read_bytes: u64,
    /// Pages that reclaim took, of files and of programs.
    pub reclaimed_pages: u64,
    /// By how much each number of zcache grew, or where it stands after a
    /// measurement that began at nought.
    pub counters: BTreeMap<String, i64>,
}

/// What is measured: everything between two looks.
struct Look {
    at: Instant,
    cpu_ns: u64,
    disk_bytes: u64,
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
            disk_bytes: counters::disk_reads(&job.device)?.bytes,
            reclaimed: reclaimed()?,
            counters: counters::zcache(&job.sysfs)?,
        })
    }
}

fn reclaimed() -> Result<u64> {
    Ok(counters::vmstat("pgsteal_anon")? + counters::vmstat("pgsteal_file")?)
}

/// Runs the job.
///
/// # Errors
///
/// Anything that kept it from measuring, or an unknown workload.
pub fn run(job: &Job) -> Result<bool> {
    let mut meter = Meter::new(Path::new("/run/out"), Path::new("/run/host-proc"))?;
    let memory = counters::memory()?;
    let name = match job.workload.as_str() {
        "incompressible-files" => "noise",
        _ => "real",
    };
    let file = File::open(job.root.join(name)).with_context(|| name.to_string())?;
    let size = file.metadata()?.len();
    let bytes = job.bytes.unwrap_or(size);
    let from_file = job.workload != "incompressible-memory";
    ensure!(!from_file || bytes <= size, "the file is too small");
    let mut buffer = vec![0; READ];
    // Not measured: what has to be there before.
    match job.workload.as_str() {
        "fits" | "full" | "scan" => read(&file, bytes, &mut buffer)?,
        "stream" | "incompressible-files" | "incompressible-memory" => {}
        other => bail!("no workload '{other}'"),
    }
    let first = Look::before(job, &mut meter)?;
    for pass in 0..job.passes {
        match job.workload.as_str() {
            "full" => read_at_random(&file, bytes, pass as u64 + 1, &mut buffer)?,
            "incompressible-memory" => noise_in_memory(bytes, pass as u64 + 1)?,
            _ => read(&file, bytes, &mut buffer)?,
        }
    }
    let last = Look::after(job, &mut meter)?;
    let grew = last.counters.iter().map(|(name, value)| {
        let before = first.counters.get(name).copied().unwrap_or(0);
        (name.clone(), *value as i64 - before as i64)
    });
    let load = Load {
        workload: job.workload.clone(),
        arm: job.arm.clone(),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?
            .trim()
            .to_string(),
        ram_bytes: memory.total_bytes,
        bytes,
        seconds: last.at.duration_since(first.at).as_secs_f64(),
        cpu_seconds: (last.cpu_ns - first.cpu_ns) as f64 / 1e9,
        disk_read_bytes: last.disk_bytes - first.disk_bytes,
        reclaimed_pages: last.reclaimed - first.reclaimed,
        counters: grew.collect(),
    };
    fs::write(&job.json, serde_json::to_string_pretty(&load)?)
        .with_context(|| format!("cannot write {}", job.json.display()))?;
    Ok(true)
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

fn read(file: &File, bytes: u64, buffer: &mut [u8]) -> Result<()> {
    let mut at = 0;
    while at < bytes {
        let part = (bytes - at).min(buffer.len() as u64) as usize;
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

/// Fills memory with what cannot be compressed, then looks at each page.
fn noise_in_memory(bytes: u64, seed: u64) -> Result<()> {
    let mut random = Random::new(seed);
    let mut memory = vec![0u8; bytes as usize];
    for word in memory.chunks_exact_mut(8) {
        word.copy_from_slice(&random.next().to_le_bytes());
    }
    let mut random = Random::new(seed);
    for page in memory.chunks_exact(PAGE) {
        ensure!(page[..8] == random.next().to_le_bytes(), "a wrong page");
        for _ in 1..PAGE / 8 {
            random.next();
        }
    }
    Ok(())
}
