// SPDX-License-Identifier: GPL-2.0

//! Tries to make a file system with zcache return a page that is not the last
//! one written. `Documentation/coherency.rst` says what for.

mod block;
mod cases;
mod control;
mod op;
mod race;
mod run;
mod shrink;
mod sys;
mod world;
mod xfs;

use anyhow::{bail, Context, Result};
use lexopt::prelude::*;
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
usage: zcache-coherency run --root DIR [--seconds N] [--pages N] [--seed N]
                        [--workers N] [--files N] [--block BYTES] [--reads %]
                        [--squeeze-mib N] [--errors] [--verify] [--widen N]
       zcache-coherency cases --root DIR --kind FS [--mutate] [--only TEXT]
                        [--stock]
       zcache-coherency guards NAME...    fails for one that dropped nothing
       zcache-coherency evict [--every-ms N] FILE...    reclaims their clean
                        pages, once or until it is ended
       zcache-coherency out FILE...       fails if one goes to zcache
       zcache-coherency xfs-exchange DISK    lets a new XFS exchange ranges";

fn main() -> ExitCode {
    match start() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("zcache-coherency: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Runs one subcommand; false says that it ran and what it found is bad.
fn start() -> Result<bool> {
    let mut parser = lexopt::Parser::from_env();
    let Some(Value(command)) = parser.next()? else {
        bail!("{USAGE}");
    };
    let mut job = run::Job {
        root: PathBuf::new(),
        seconds: 10,
        pages: 0,
        seed: 1,
        workers: 2,
        files: 8,
        block: 4096,
        reads: 50,
        squeeze_mib: 16,
        errors: false,
        worker: None,
    };
    let (mut kind, mut only, mut mutate, mut stock) = (None, None, false, false);
    let (mut verify, mut widen, mut every_ms) = (false, 0, 0);
    let mut names = Vec::new();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("root") => job.root = parser.value()?.into(),
            Long("seconds") => job.seconds = parser.value()?.parse()?,
            Long("pages") => job.pages = parser.value()?.parse()?,
            Long("seed") => job.seed = parser.value()?.parse()?,
            Long("workers") => job.workers = parser.value()?.parse()?,
            Long("files") => job.files = parser.value()?.parse::<usize>()?.max(2),
            Long("block") => job.block = parser.value()?.parse()?,
            Long("reads") => job.reads = parser.value()?.parse()?,
            Long("squeeze-mib") => job.squeeze_mib = parser.value()?.parse()?,
            Long("errors") => job.errors = true,
            Long("worker") => job.worker = Some(parser.value()?.parse()?),
            Long("verify") => verify = true,
            Long("every-ms") => every_ms = parser.value()?.parse()?,
            Long("widen") => widen = parser.value()?.parse()?,
            Long("kind") => kind = Some(parser.value()?.string()?),
            Long("only") => only = Some(parser.value()?.string()?),
            Long("stock") => stock = true,
            Long("mutate") => mutate = true,
            Value(name) => names.push(name.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    match command.to_str() {
        Some("run") if job.worker.is_none() && (verify || widen > 0) => {
            control::verify(verify)?;
            control::widen(widen)?;
            let right = run::run(&job);
            control::verify(false)?;
            control::widen(0)?;
            Ok(right? && verified(verify)?)
        }
        Some("run") => run::run(&job),
        Some("cases") => {
            if !control::checks() || (mutate && !control::zcache()) {
                bail!("cases need a kernel with CONFIG_CLEANCACHE_DEBUG, mutations zcache");
            }
            cases::run(&cases::Job {
                root: job.root,
                kind: kind.context("--kind is missing")?,
                mutate,
                only,
                stock,
            })
        }
        Some("guards") => run::guards_were_needed(&names),
        Some("evict") => loop {
            for name in &names {
                let file = std::fs::File::open(name).context(name.clone())?;
                sys::page_out(&file, 0, usize::MAX / block::PAGE)?;
            }
            if every_ms == 0 {
                break Ok(!names.is_empty());
            }
            sys::sleep_ms(every_ms);
        },
        Some("out") => {
            let mut all = true;
            for name in &names {
                let out = cases::stays_out(name.as_ref())?;
                println!("{}: {name} stays out", if out { "ok" } else { "FAIL" });
                all &= out;
            }
            Ok(all && !names.is_empty())
        }
        Some("xfs-exchange") => {
            for name in &names {
                xfs::allow_exchange(name.as_ref())?;
            }
            Ok(!names.is_empty())
        }
        _ => bail!("{USAGE}"),
    }
}

/// Did the kernel compare copies, and were all right?
fn verified(wanted: bool) -> Result<bool> {
    let counts = control::verified();
    let count = |name: &str| counts.get(name).copied().unwrap_or(0);
    println!(
        "verified by the kernel: {} copies against the file system, {} against what was put",
        count("compared"),
        count("puts_compared")
    );
    let right = count("differed") == 0 && count("puts_differed") == 0;
    Ok(right && (!wanted || count("compared") > 0))
}
