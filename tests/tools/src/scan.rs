// SPDX-License-Identifier: GPL-2.0

//! Reads a tree over and over, in the same order, verifies every byte, and
//! pipes all of it through a command, as a backup does.

use crate::counters;
use crate::device;
use crate::manifest::{self, Entry, READ_SIZE};
use crate::pressure::{self, Pressure};
use crate::record::{Arm, Pass};
use anyhow::{ensure, Context, Result};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How often the size of the page cache is looked at.
const SAMPLE: Duration = Duration::from_millis(50);
/// Wrong files named in full, the rest are counted.
const NAMED: u64 = 10;

/// What to read and where the record goes.
pub struct Job {
    /// Name of the arm.
    pub arm: String,
    /// Where the tree is mounted.
    pub root: PathBuf,
    /// What it must hold.
    pub manifest: PathBuf,
    /// Where the record goes.
    pub json: PathBuf,
    /// The block device below, without `/dev/`.
    pub device: String,
    /// How often to read it all.
    pub passes: usize,
    /// Read latency that the device was asked for, in milliseconds.
    pub asked_ms: u64,
    /// Reads to measure its latency with; 0 measures nothing.
    pub latency_reads: usize,
    /// Where zcache shows its counters.
    pub sysfs: PathBuf,
    /// A command and its arguments to pipe all bytes through; nothing if empty.
    pub through: Vec<String>,
    /// Whether to read once more, last, without that command.
    pub bare: bool,
}

/// Runs the job; false if a byte was wrong.
///
/// # Errors
///
/// Anything that kept it from measuring.
pub fn run(job: &Job) -> Result<bool> {
    let entries = manifest::read(&job.manifest)?;
    let latency = device::latency(&job.device, job.latency_reads)?;
    if let Some(latency) = &latency {
        println!(
            "{}: disk asked for {} ms a read, measured {:.1} ms (99 % within {:.1} ms)",
            job.arm, job.asked_ms, latency.p50_ms, latency.p99_ms
        );
    }
    let status = fs::read_to_string(job.sysfs.join("status")).ok();
    let mut arm = Arm {
        name: job.arm.clone(),
        kernel: first_line("/proc/sys/kernel/osrelease")?,
        command_line: first_line("/proc/cmdline")?,
        ram_bytes: counters::memory()?.total_bytes,
        tree_files: entries.len() as u64,
        tree_bytes: entries.iter().map(|entry| entry.bytes).sum(),
        asked_ms: job.asked_ms,
        latency,
        status: status.map(|text| text.trim().to_string()),
        through: job.through.clone(),
        passes: Vec::new(),
        bare: None,
    };
    for number in 1..=job.passes {
        let what = format!("pass {number} of {}", job.passes);
        arm.passes
            .push(one_pass(job, &what, &entries, &job.through)?);
    }
    if job.bare {
        arm.bare = Some(one_pass(job, "only reading", &entries, &[])?);
    }
    fs::write(&job.json, serde_json::to_string_pretty(&arm)?)
        .with_context(|| format!("cannot write {}", job.json.display()))?;
    let mut all = arm.passes.iter().chain(&arm.bare);
    Ok(all.all(|pass| pass.mismatches == 0))
}

fn first_line(path: &str) -> Result<String> {
    let text = fs::read_to_string(path).context(path.to_string())?;
    Ok(text.lines().next().unwrap_or_default().to_string())
}

fn one_pass(job: &Job, what: &str, entries: &[Entry], through: &[String]) -> Result<Pass> {
    let peak = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    let disk_before = counters::disk_reads(&job.device)?;
    let swap_before = counters::swap_bytes()?;
    let pressure_before = Pressure::now()?;
    let (seconds, tally) = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                if let Ok(memory) = counters::memory() {
                    peak.fetch_max(memory.page_cache_bytes, Ordering::Relaxed);
                }
                thread::sleep(SAMPLE);
            }
        });
        let begun = Instant::now();
        let tally = verify(&job.root, entries, through);
        let seconds = begun.elapsed().as_secs_f64();
        done.store(true, Ordering::Relaxed);
        (seconds, tally)
    });
    let tally = tally?;
    let pressure = pressure::since(pressure_before, Pressure::now()?);
    let swap_after = counters::swap_bytes()?;
    let disk_after = counters::disk_reads(&job.device)?;
    let pass = Pass {
        seconds,
        verified_bytes: tally.verified_bytes,
        mismatches: tally.mismatches,
        disk_reads: disk_after.requests - disk_before.requests,
        disk_read_bytes: disk_after.bytes - disk_before.bytes,
        swap_read_bytes: swap_after.0 - swap_before.0,
        swap_written_bytes: swap_after.1 - swap_before.1,
        peak_page_cache_bytes: peak.into_inner().max(counters::memory()?.page_cache_bytes),
        pressure,
        counters: counters::zcache(&job.sysfs)?,
    };
    println!(
        "{}: {what}: {:6.2} s, {:5.1} MiB from disk, {} wrong",
        job.arm,
        pass.seconds,
        pass.disk_read_bytes as f64 / f64::from(1 << 20),
        pass.mismatches
    );
    Ok(pass)
}

/// Where the bytes of a pass go.
enum Sink {
    Nowhere,
    Through(Child, ChildStdin),
}

impl Sink {
    fn new(through: &[String]) -> Result<Self> {
        let Some((program, arguments)) = through.split_first() else {
            return Ok(Sink::Nowhere);
        };
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        let stdin = child.stdin.take().context("it has no input")?;
        Ok(Sink::Through(child, stdin))
    }

    /// Lets the command end.
    fn finish(self) -> Result<()> {
        if let Sink::Through(mut child, stdin) = self {
            drop(stdin);
            let status = child.wait()?;
            ensure!(status.success(), "the command ended with {status}");
        }
        Ok(())
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sink::Nowhere => Ok(bytes.len()),
            Sink::Through(_, stdin) => stdin.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Default)]
struct Tally {
    verified_bytes: u64,
    mismatches: u64,
}

fn verify(root: &Path, entries: &[Entry], through: &[String]) -> Result<Tally> {
    let mut buffer = vec![0; READ_SIZE];
    let mut tally = Tally::default();
    let mut sink = Sink::new(through)?;
    for entry in entries {
        let found = manifest::hash_file_to(&root.join(&entry.path), &mut buffer, &mut sink);
        match found {
            Ok((hash, bytes)) if hash == entry.hash && bytes == entry.bytes => {
                tally.verified_bytes += bytes;
            }
            other => {
                if tally.mismatches < NAMED {
                    println!("wrong: {}: {}", entry.path.display(), wrong(&other, entry));
                }
                tally.mismatches += 1;
            }
        }
    }
    sink.finish()?;
    Ok(tally)
}

fn wrong(found: &std::io::Result<(u64, u64)>, entry: &Entry) -> String {
    match found {
        Err(error) => error.to_string(),
        Ok((_, bytes)) if *bytes != entry.bytes => {
            format!("{bytes} bytes instead of {}", entry.bytes)
        }
        Ok(_) => "its content is not what the host wrote".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_a_short_and_a_missing_file_are_mismatches() -> Result<()> {
        let tree = tempfile::tempdir()?;
        for name in ["right", "changed", "short", "missing"] {
            fs::write(tree.path().join(name), b"eight by")?;
        }
        let list = tempfile::NamedTempFile::new()?;
        let entries = manifest::write(tree.path(), list.path())?;
        fs::write(tree.path().join("changed"), b"eight bY")?;
        fs::write(tree.path().join("short"), b"eight b")?;
        fs::remove_file(tree.path().join("missing"))?;
        for through in [&[][..], &["cat".to_string()]] {
            let tally = verify(tree.path(), &entries, through)?;
            assert_eq!(tally.mismatches, 3);
            assert_eq!(tally.verified_bytes, 8);
        }
        Ok(())
    }

    #[test]
    fn all_bytes_go_through_the_command_and_its_failure_is_ours() -> Result<()> {
        let tree = tempfile::tempdir()?;
        fs::write(tree.path().join("a"), b"one")?;
        fs::write(tree.path().join("b"), b"two")?;
        let list = tempfile::NamedTempFile::new()?;
        let entries = manifest::write(tree.path(), list.path())?;
        let test = |program: &str| {
            let words = ["sh", "-c", program].map(str::to_string);
            verify(tree.path(), &entries, &words)
        };
        assert!(test("test \"$(cat)\" = onetwo").is_ok());
        assert!(test("test \"$(cat)\" = one").is_err());
        Ok(())
    }
}
