// SPDX-License-Identifier: GPL-2.0

//! The swap workload: a program whose real data overflows RAM.
//!
//! It holds source files in memory as an editor or a language server does: the
//! text, the tokens in it and the beginnings of its lines. Then it goes to
//! files in random order, takes each apart again and compares all of it, so
//! that every byte of its data is verified.

use crate::counters;
use crate::device::{self, Latency};
use crate::pressure::{self, Pressure};
use crate::swapper::Random;
use anyhow::{bail, Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::mem::{self, size_of};
use std::path::{Path, PathBuf};
use std::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

/// Files shorter or longer than this are left out, in bytes.
const LENGTHS: std::ops::Range<u64> = 2048..262_144;

/// What to do.
pub struct Job {
    /// Name of the arm.
    pub arm: String,
    /// A folder of C sources.
    pub text: PathBuf,
    /// Data to hold, in MiB.
    pub mib: u64,
    /// Data to visit in each pass, in MiB.
    pub visit_mib: u64,
    /// Passes after the data is there.
    pub passes: usize,
    /// Where the record goes.
    pub json: PathBuf,
    /// The swap device, without `/dev/`.
    pub device: String,
    /// Read latency that it was asked for, in milliseconds.
    pub asked_ms: u64,
    /// Reads to measure its latency with; 0 measures nothing.
    pub latency_reads: usize,
    /// Where zcache shows its counters.
    pub sysfs: PathBuf,
}

/// One guest and what it measured.
#[derive(Debug, Serialize, Deserialize)]
pub struct SwapArm {
    /// `none`, `zcache` or `ram`.
    pub name: String,
    /// The kernel's command line.
    pub command_line: String,
    /// RAM that the kernel manages, in bytes.
    pub ram_bytes: u64,
    /// Files held.
    pub files: u64,
    /// Data held: text, tokens and lines, in bytes.
    pub set_bytes: u64,
    /// Read latency that the swap device was asked for, in milliseconds.
    pub asked_ms: u64,
    /// Read latency that it had.
    pub latency: Option<Latency>,
    /// The first is the loading.
    pub passes: Vec<SwapPass>,
}

/// The loading, or one round of visits.
#[derive(Debug, Serialize, Deserialize)]
pub struct SwapPass {
    /// How long it took.
    pub seconds: f64,
    /// Bytes of data compared.
    pub verified_bytes: u64,
    /// Files of which anything was wrong.
    pub mismatches: u64,
    /// Bytes that came from the swap device.
    pub swap_read_bytes: u64,
    /// Bytes that went to it.
    pub swap_written_bytes: u64,
    /// How long tasks were stalled meanwhile; none where the kernel cannot tell.
    #[serde(default)]
    pub pressure: Option<Pressure>,
    /// Every counter of zcache at the end.
    pub counters: BTreeMap<String, u64>,
}

/// A piece of a file, with what a parser wants to know of it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Token {
    start: usize,
    end: usize,
    line: u32,
    column: u32,
    kind: Kind,
    first: u8,
}

/// What a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Word,
    Space,
    Sign,
}

/// One file, taken apart.
struct Document {
    text: Vec<u8>,
    tokens: Vec<Token>,
    lines: Vec<usize>,
    hash: u64,
}

impl Document {
    fn new(text: Vec<u8>) -> Self {
        let (tokens, lines) = take_apart(&text);
        Document {
            hash: xxh3_64(&text),
            text,
            tokens,
            lines,
        }
    }

    fn bytes(&self) -> u64 {
        (self.text.len()
            + self.tokens.len() * size_of::<Token>()
            + self.lines.len() * size_of::<usize>()) as u64
    }

    /// Is all of it as it was?
    fn is_right(&self) -> bool {
        let (tokens, lines) = take_apart(&self.text);
        xxh3_64(&self.text) == self.hash && tokens == self.tokens && lines == self.lines
    }
}

impl Kind {
    fn of(byte: u8) -> Self {
        match byte {
            b'_' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | 0x80.. => Kind::Word,
            b' ' | b'\t' | b'\r' | b'\n' => Kind::Space,
            _ => Kind::Sign,
        }
    }
}

/// Finds the words and the signs of a text, and where its lines begin.
fn take_apart(text: &[u8]) -> (Vec<Token>, Vec<usize>) {
    let (mut tokens, mut lines) = (Vec::new(), vec![0]);
    let (mut at, mut line_start) = (0, 0);
    while at < text.len() {
        let kind = Kind::of(text[at]);
        let run = text[at..].iter().position(|byte| Kind::of(*byte) != kind);
        let end = match kind {
            Kind::Sign => at + 1,
            _ => run.map_or(text.len(), |run| at + run),
        };
        if kind == Kind::Space {
            let breaks = (at..end).filter(|place| text[*place] == b'\n');
            lines.extend(breaks.map(|place| place + 1));
            line_start = lines[lines.len() - 1];
        } else {
            tokens.push(Token {
                start: at,
                end,
                line: lines.len() as u32,
                column: (at - line_start) as u32,
                kind,
                first: text[at],
            });
        }
        at = end;
    }
    tokens.shrink_to_fit();
    lines.shrink_to_fit();
    (tokens, lines)
}

/// Runs the job; false if anything was wrong.
///
/// # Errors
///
/// Anything that kept it from measuring.
pub fn run(job: &Job) -> Result<bool> {
    let latency = device::latency(&job.device, job.latency_reads)?;
    if let Some(latency) = &latency {
        println!(
            "{}: swap device asked for {} ms a read, measured {:.1} ms (99 % within {:.1} ms)",
            job.arm, job.asked_ms, latency.p50_ms, latency.p99_ms
        );
    }
    let mut arm = SwapArm {
        name: job.arm.clone(),
        command_line: fs::read_to_string("/proc/cmdline")?.trim().to_string(),
        ram_bytes: counters::memory()?.total_bytes,
        files: 0,
        set_bytes: 0,
        asked_ms: job.asked_ms,
        latency,
        passes: Vec::new(),
    };
    let mut documents = Vec::new();
    let loading = measured(job, || {
        documents = load(&job.text, job.mib << 20)?;
        Ok((0, 0))
    })?;
    arm.files = documents.len() as u64;
    arm.set_bytes = documents.iter().map(Document::bytes).sum();
    println!(
        "{}: {} files, {:.0} MiB of data, loaded in {:.2} s",
        job.arm,
        arm.files,
        mib(arm.set_bytes),
        loading.seconds
    );
    arm.passes.push(loading);
    let mut order = Order::new(documents.len());
    for number in 1..=job.passes {
        let pass = measured(job, || {
            Ok(visit(&documents, &mut order, job.visit_mib << 20))
        })?;
        println!(
            "{}: visits {number} of {}: {:6.2} s, {:5.1} MiB seen, {:5.1} MiB from swap, {} wrong",
            job.arm,
            job.passes,
            pass.seconds,
            mib(pass.verified_bytes),
            mib(pass.swap_read_bytes),
            pass.mismatches
        );
        arm.passes.push(pass);
    }
    fs::write(&job.json, serde_json::to_string_pretty(&arm)?)
        .with_context(|| format!("cannot write {}", job.json.display()))?;
    // To free each piece would read it from swap once more.
    mem::forget(documents);
    Ok(arm.passes.iter().all(|pass| pass.mismatches == 0))
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Runs `work`, which returns bytes verified and files that were wrong.
fn measured(job: &Job, work: impl FnOnce() -> Result<(u64, u64)>) -> Result<SwapPass> {
    let before = counters::swap_bytes()?;
    let pressure_before = Pressure::now()?;
    let begun = Instant::now();
    let (verified_bytes, mismatches) = work()?;
    let seconds = begun.elapsed().as_secs_f64();
    let pressure = pressure::since(pressure_before, Pressure::now()?);
    let after = counters::swap_bytes()?;
    Ok(SwapPass {
        seconds,
        verified_bytes,
        mismatches,
        swap_read_bytes: after.0 - before.0,
        swap_written_bytes: after.1 - before.1,
        pressure,
        counters: counters::zcache(&job.sysfs)?,
    })
}

/// Loads files until there is enough data.
fn load(folder: &Path, bytes: u64) -> Result<Vec<Document>> {
    let mut documents = Vec::new();
    let mut have = 0;
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let items = fs::read_dir(&folder).with_context(|| format!("{}", folder.display()))?;
        let mut items = items.collect::<Result<Vec<_>, _>>()?;
        items.sort_by_key(fs::DirEntry::file_name);
        for item in items {
            let (path, kind) = (item.path(), item.file_type()?);
            if kind.is_dir() {
                folders.push(path);
                continue;
            }
            let source = path.extension().is_some_and(|end| end == "c" || end == "h");
            if !kind.is_file() || !source || !LENGTHS.contains(&item.metadata()?.len()) {
                continue;
            }
            let document = Document::new(fs::read(&path)?);
            have += document.bytes();
            documents.push(document);
            if have >= bytes {
                return Ok(documents);
            }
        }
    }
    bail!("{}: only {:.0} MiB of data", folder.display(), mib(have));
}

/// Every file once in random order, then all again in another one.
struct Order {
    random: Random,
    places: Vec<usize>,
    next: usize,
}

impl Order {
    fn new(count: usize) -> Self {
        Order {
            random: Random::new(1),
            places: (0..count).collect(),
            next: count,
        }
    }

    fn next(&mut self) -> usize {
        if self.next == self.places.len() {
            for last in (1..self.places.len()).rev() {
                self.places.swap(last, self.random.below(last + 1));
            }
            self.next = 0;
        }
        self.next += 1;
        self.places[self.next - 1]
    }
}

fn visit(documents: &[Document], order: &mut Order, bytes: u64) -> (u64, u64) {
    let (mut seen, mut verified, mut wrong) = (0, 0, 0);
    while seen < bytes {
        let document = &documents[order.next()];
        seen += document.bytes();
        if document.is_right() {
            verified += document.bytes();
        } else {
            wrong += 1;
        }
    }
    (verified, wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_taken_apart() {
        let (tokens, lines) = take_apart(b"int a_1;\n\n\t/* b */\n");
        assert_eq!(lines, [0, 9, 10, 19]);
        let pieces: Vec<_> = tokens
            .iter()
            .map(|token| (token.start, token.end, token.line, token.column))
            .collect();
        assert_eq!(pieces[..3], [(0, 3, 1, 0), (4, 7, 1, 4), (7, 8, 1, 7)]);
        assert_eq!(pieces[3..5], [(11, 12, 3, 1), (12, 13, 3, 2)]);
        assert_eq!(
            pieces[5..],
            [(14, 15, 3, 4), (16, 17, 3, 6), (17, 18, 3, 7)]
        );
        assert!(take_apart(b"").0.is_empty());
    }

    #[test]
    fn a_bit_anywhere_in_the_data_is_seen() {
        let mut document = Document::new(b"static int count;\n".to_vec());
        assert!(document.is_right());
        document.text[3] ^= 1;
        assert!(!document.is_right());
        document.text[3] ^= 1;
        document.tokens[1].column ^= 4;
        assert!(!document.is_right());
        document.tokens[1].column ^= 4;
        document.lines[1] += 1;
        assert!(!document.is_right());
    }

    #[test]
    fn every_file_comes_once_a_round() {
        let mut order = Order::new(10);
        for _ in 0..3 {
            let mut seen: Vec<_> = (0..10).map(|_| order.next()).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..10).collect::<Vec<_>>());
        }
    }
}
