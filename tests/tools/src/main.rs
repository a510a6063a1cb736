// SPDX-License-Identifier: GPL-2.0

//! The programs of zcache's main job: make a tree of real files, read it over
//! and over in a guest while every byte is verified, and report what it cost.

mod bench;
mod counters;
mod device;
mod distinct;
mod eater;
mod load;
mod manifest;
mod meter;
mod pages;
mod pairs;
mod plot;
mod pressure;
mod record;
mod report;
mod scan;
mod stats;
mod swap;
mod swap_cost;
mod swap_report;
mod swapper;
mod tree;

use anyhow::{bail, Context, Result};
use lexopt::prelude::*;
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
usage: zcache-tools tree --to DIR --manifest FILE --mib N [--min-kib N]
                         --text DIR --binaries DIR...
       zcache-tools distinct DIR
       zcache-tools manifest DIR FILE
       zcache-tools scan --arm NAME --root DIR --manifest FILE --json FILE
                         --device NAME [--passes N] [--asked-ms N]
                         [--latency-reads N] [--sysfs DIR] [--bare]
                         [-- COMMAND...]
       zcache-tools swap --arm NAME --text DIR --mib N --visit-mib N
                         --json FILE --device NAME [--passes N] [--asked-ms N]
                         [--latency-reads N] [--sysfs DIR]
       zcache-tools swap-report --json FILE NONE ZCACHE RAM
       zcache-tools swap-cost --arm NAME --json FILE --reclaim FILE
                         [--passes N] PAGES
       zcache-tools swap-cost-report --json FILE ZCACHE ZSWAP...
       zcache-tools swapper --mib N [--seconds N] [--seed N] [--children N]
                         [--reclaim FILE]
       zcache-tools pages --to FILE --mib N PID
       zcache-tools victim --mib N [--seed N] [--reclaim FILE]
       zcache-tools report --json FILE --svg FILE NONE ZCACHE RAM
       zcache-tools bench --json FILE --workload NAME --device NAME RECORD...
       zcache-tools meter --to DIR -- COMMAND...
       zcache-tools load --workload NAME --arm NAME --root DIR --json FILE
                         --device NAME [--passes N] [--bytes N] [--asked-ms N]
                         [--latency-reads N] [--sysfs DIR]
       zcache-tools turns --workload NAME --root DIR --json FILE --device NAME
                         [--turns N] [--passes N] [--bytes N] [--asked-ms N]
                         [--latency-reads N] [--sysfs DIR] [--parameters DIR]
       zcache-tools noise --to FILE --bytes N [--seed N]
       zcache-tools pairs --json FILE --device NAME [--limit PERCENT]
                         [--limit-ns-a-page N] FIRST SECOND...
       zcache-tools oom --json FILE --seed N FILE-TO-READ
       zcache-tools eat --bytes N [--seed N] FILE-TO-READ
       zcache-tools oom-report --json FILE STOCK ZCACHE...";

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("zcache-tools: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Runs one subcommand; false says that it ran and what it found is bad.
fn run() -> Result<bool> {
    let mut parser = lexopt::Parser::from_env();
    let Some(Value(command)) = parser.next()? else {
        bail!("{USAGE}");
    };
    let mut options = Options::default();
    options.parse(&mut parser)?;
    match command.to_str() {
        Some("tree") => tree::make(&tree::Plan {
            to: options.to.context("--to is missing")?,
            manifest: options.manifest.context("--manifest is missing")?,
            bytes: options.mib.context("--mib is missing")? << 20,
            smallest: options.min_kib << 10,
            text: options.text.context("--text is missing")?,
            binaries: options.binaries,
        }),
        Some("distinct") => match options.files.as_slice() {
            [root] => distinct::make(root),
            _ => bail!("{USAGE}"),
        },
        Some("manifest") => match options.files.as_slice() {
            [root, file] => manifest::write(root, file).map(|_| true),
            _ => bail!("{USAGE}"),
        },
        Some("scan") => scan::run(&scan::Job {
            arm: options.arm.context("--arm is missing")?,
            root: options.root.context("--root is missing")?,
            manifest: options.manifest.context("--manifest is missing")?,
            json: options.json.context("--json is missing")?,
            device: options.device.context("--device is missing")?,
            passes: options.passes,
            asked_ms: options.asked_ms,
            latency_reads: options.latency_reads,
            sysfs: options.sysfs,
            through: words(&options.files)?,
            bare: options.bare,
        }),
        Some("swap") => swap::run(&swap::Job {
            arm: options.arm.context("--arm is missing")?,
            text: options.text.context("--text is missing")?,
            mib: options.mib.context("--mib is missing")?,
            visit_mib: options.visit_mib.context("--visit-mib is missing")?,
            passes: options.passes,
            json: options.json.context("--json is missing")?,
            device: options.device.context("--device is missing")?,
            asked_ms: options.asked_ms,
            latency_reads: options.latency_reads,
            sysfs: options.sysfs,
        }),
        Some("swap-report") => match options.files.as_slice() {
            [none, zcache, ram] => swap_report::run(
                [none, zcache, ram],
                &options.json.context("--json is missing")?,
            ),
            _ => bail!("{USAGE}"),
        },
        Some("swap-cost") => match options.files.as_slice() {
            [pages] => swap_cost::run(&swap_cost::Job {
                arm: options.arm.context("--arm is missing")?,
                pages: pages.clone(),
                rounds: options.passes,
                reclaim: options.reclaim.context("--reclaim is missing")?,
                json: options.json.context("--json is missing")?,
            }),
            _ => bail!("{USAGE}"),
        },
        Some("swap-cost-report") => {
            swap_cost::report(&options.json.context("--json is missing")?, &options.files)
        }
        Some("swapper") => swapper::run(&swapper::Job {
            mib: options.mib.context("--mib is missing")? as usize,
            seconds: options.seconds,
            seed: options.seed,
            children: options.children,
            reclaim: options.reclaim,
        }),
        Some("pages") => match options.files.as_slice() {
            [pid] => {
                let pid = pid.to_str().and_then(|pid| pid.parse().ok());
                let bytes = options.mib.context("--mib is missing")? << 20;
                let to = options.to.context("--to is missing")?;
                let added = pages::record(pid.context("PID is no number")?, bytes, &to)?;
                // A program that has hardly begun is not what was asked for.
                Ok(added >= bytes / 2)
            }
            _ => bail!("{USAGE}"),
        },
        Some("report") => match options.files.as_slice() {
            [none, zcache, ram] => report::run(
                [none, zcache, ram],
                &options.json.context("--json is missing")?,
                &options.svg.context("--svg is missing")?,
            ),
            _ => bail!("{USAGE}"),
        },
        Some("bench") => bench::run(&bench::Job {
            json: options.json.context("--json is missing")?,
            workload: options.workload.context("--workload is missing")?,
            device: options.device.context("--device is missing")?,
            files: options.files,
        }),
        Some("meter") => meter::serve(
            &options.to.context("--to is missing")?,
            &words(&options.files)?,
        ),
        Some("load") => {
            let arm = options.arm.take().context("--arm is missing")?;
            load::run(&load_job(options)?, &arm)
        }
        Some("turns") => load::turns(&load_job(options)?),
        Some("noise") => load::noise(
            &options.to.context("--to is missing")?,
            options.bytes.context("--bytes is missing")?,
            options.seed,
        ),
        Some("pairs") => pairs::run(&pairs::Job {
            json: options.json.context("--json is missing")?,
            device: options.device.context("--device is missing")?,
            limit: options.limit,
            limit_ns_a_page: options.limit_ns_a_page,
            files: options.files,
        }),
        Some("oom") => match options.files.as_slice() {
            [file] => eater::run(
                file,
                options.seed,
                &options.json.context("--json is missing")?,
            ),
            _ => bail!("{USAGE}"),
        },
        Some("eat") => match options.files.as_slice() {
            [file] => eater::eat(
                options.bytes.context("--bytes is missing")?,
                options.seed,
                file,
            ),
            _ => bail!("{USAGE}"),
        },
        Some("oom-report") => {
            eater::report(&options.files, &options.json.context("--json is missing")?)
        }
        _ => bail!("{USAGE}"),
    }
}

fn load_job(options: Options) -> Result<load::Job> {
    Ok(load::Job {
        workload: options.workload.context("--workload is missing")?,
        root: options.root.context("--root is missing")?,
        bytes: options.bytes,
        passes: options.passes,
        json: options.json.context("--json is missing")?,
        device: options.device.context("--device is missing")?,
        asked_ms: options.asked_ms,
        latency_reads: options.latency_reads,
        sysfs: options.sysfs,
        parameters: options.parameters,
        turns: options.turns,
    })
}

/// The words of a command.
fn words(list: &[PathBuf]) -> Result<Vec<String>> {
    let word = |path: &PathBuf| path.to_str().map(str::to_string);
    let words: Option<Vec<_>> = list.iter().map(word).collect();
    words.context("a command that is not UTF-8")
}

/// Every option of every subcommand, with its default.
struct Options {
    to: Option<PathBuf>,
    manifest: Option<PathBuf>,
    mib: Option<u64>,
    min_kib: u64,
    text: Option<PathBuf>,
    binaries: Vec<PathBuf>,
    arm: Option<String>,
    root: Option<PathBuf>,
    json: Option<PathBuf>,
    svg: Option<PathBuf>,
    device: Option<String>,
    workload: Option<String>,
    passes: usize,
    asked_ms: u64,
    latency_reads: usize,
    sysfs: PathBuf,
    parameters: PathBuf,
    turns: usize,
    bare: bool,
    seconds: u64,
    seed: u64,
    visit_mib: Option<u64>,
    bytes: Option<u64>,
    limit: Option<f64>,
    limit_ns_a_page: Option<f64>,
    children: usize,
    reclaim: Option<PathBuf>,
    files: Vec<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            to: None,
            manifest: None,
            mib: None,
            min_kib: 0,
            text: None,
            binaries: Vec::new(),
            arm: None,
            root: None,
            json: None,
            svg: None,
            device: None,
            workload: None,
            passes: 4,
            asked_ms: 0,
            latency_reads: 0,
            sysfs: PathBuf::from("/sys/kernel/mm/zcache"),
            parameters: PathBuf::from("/sys/module/zcache/parameters"),
            turns: 1,
            bare: false,
            seconds: 10,
            seed: 1,
            visit_mib: None,
            bytes: None,
            limit: None,
            limit_ns_a_page: None,
            children: 0,
            reclaim: None,
            files: Vec::new(),
        }
    }
}

impl Options {
    fn parse(&mut self, parser: &mut lexopt::Parser) -> Result<()> {
        while let Some(argument) = parser.next()? {
            match argument {
                Long("to") => self.to = Some(parser.value()?.into()),
                Long("manifest") => self.manifest = Some(parser.value()?.into()),
                Long("mib") => self.mib = Some(parser.value()?.parse()?),
                Long("min-kib") => self.min_kib = parser.value()?.parse()?,
                Long("text") => self.text = Some(parser.value()?.into()),
                Long("binaries") => self.binaries.push(parser.value()?.into()),
                Long("arm") => self.arm = Some(parser.value()?.string()?),
                Long("root") => self.root = Some(parser.value()?.into()),
                Long("json") => self.json = Some(parser.value()?.into()),
                Long("svg") => self.svg = Some(parser.value()?.into()),
                Long("device") => self.device = Some(parser.value()?.string()?),
                Long("workload") => self.workload = Some(parser.value()?.string()?),
                Long("passes") => self.passes = parser.value()?.parse()?,
                Long("asked-ms") => self.asked_ms = parser.value()?.parse()?,
                Long("latency-reads") => self.latency_reads = parser.value()?.parse()?,
                Long("sysfs") => self.sysfs = parser.value()?.into(),
                Long("parameters") => self.parameters = parser.value()?.into(),
                Long("turns") => self.turns = parser.value()?.parse()?,
                Long("bare") => self.bare = true,
                Long("seconds") => self.seconds = parser.value()?.parse()?,
                Long("seed") => self.seed = parser.value()?.parse()?,
                Long("visit-mib") => self.visit_mib = Some(parser.value()?.parse()?),
                Long("bytes") => self.bytes = Some(parser.value()?.parse()?),
                Long("limit") => self.limit = Some(parser.value()?.parse()?),
                Long("limit-ns-a-page") => {
                    self.limit_ns_a_page = Some(parser.value()?.parse()?);
                }
                Long("children") => self.children = parser.value()?.parse()?,
                Long("reclaim") => self.reclaim = Some(parser.value()?.into()),
                Value(file) => self.files.push(file.into()),
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(())
    }
}
