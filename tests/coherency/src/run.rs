// SPDX-License-Identifier: GPL-2.0

//! The exerciser: workers, each a process with files of its own, change them in
//! all ways there are, under pressure; each block that is read is compared.

use crate::block::{Random, PAGE, PER_PAGE};
use crate::op::{Chooser, Direct, Op, Reading, Step, MOST};
use crate::world::{Mismatch, World};
use crate::{control, race, shrink, sys};
use anyhow::{bail, Context, Result};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What to do.
#[derive(Clone)]
pub struct Job {
    /// Where the file system is mounted.
    pub root: PathBuf,
    /// How long, in seconds.
    pub seconds: u64,
    /// Stop when so many pages were compared; 0 for never.
    pub pages: u64,
    /// The same seed chooses the same operations.
    pub seed: u64,
    /// Processes.
    pub workers: usize,
    /// Files of each, of 1 MiB at most.
    pub files: usize,
    /// Bytes of a file system block.
    pub block: usize,
    /// Percent of operations that only read.
    pub reads: usize,
    /// Memory to take and give back now and then, in MiB.
    pub squeeze_mib: usize,
    /// The disk fails now and then.
    pub errors: bool,
    /// Which worker this is, if it is one.
    pub worker: Option<usize>,
}

/// Runs workers and the pressure on them; false if a byte was wrong.
///
/// # Errors
///
/// An operation failed that must not.
pub fn run(job: &Job) -> Result<bool> {
    if let Some(worker) = job.worker {
        return work(job, worker);
    }
    let hits = control::counter("eph_hits");
    let start = Instant::now();
    let mut children = Vec::new();
    for worker in 0..job.workers {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(std::env::args_os().skip(1));
        command.arg("--worker").arg(worker.to_string());
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("no output")?;
        let reader = std::thread::spawn(move || {
            let mut counts = BTreeMap::<String, u64>::new();
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                match line
                    .strip_prefix("count ")
                    .and_then(|rest| rest.split_once(' '))
                {
                    Some((name, number)) => {
                        *counts.entry(name.to_string()).or_default() +=
                            number.parse::<u64>().unwrap_or(0);
                    }
                    None => println!("{line}"),
                }
            }
            counts
        });
        children.push((child, reader));
    }
    press(job, &mut children)?;
    let mut right = true;
    let mut total = BTreeMap::<String, u64>::new();
    for (mut child, reader) in children {
        right &= child.wait()?.success();
        for (name, number) in reader.join().unwrap_or_default() {
            *total.entry(name).or_default() += number;
        }
    }
    let mut list = String::new();
    for (name, number) in &total {
        list.push_str(&format!(" {name}={number}"));
    }
    println!("operations:{list}");
    println!(
        "exercised: seed {}, {} s: {} pages verified, {} of them served by zcache, {}",
        job.seed,
        start.elapsed().as_secs(),
        total.get("pages").unwrap_or(&0),
        control::counter("eph_hits") - hits,
        if right { "none wrong" } else { "WRONG" }
    );
    Ok(right)
}

type Running = (
    std::process::Child,
    std::thread::JoinHandle<BTreeMap<String, u64>>,
);

/// Makes memory scarce, in several ways, as long as a worker runs.
fn press(job: &Job, children: &mut [Running]) -> Result<()> {
    let mut random = Random::new(job.seed ^ 0x7072_6573_7300);
    loop {
        let mut running = 0;
        let mut failed = false;
        for (child, _) in children.iter_mut() {
            match child.try_wait()? {
                None => running += 1,
                Some(status) => failed |= !status.success(),
            }
        }
        if running == 0 {
            return Ok(());
        }
        if failed {
            // The others stop at their next look at the mark.
            std::fs::write(job.root.join("stop"), "")?;
        }
        match random.below(40) {
            0 => control::drop_caches()?,
            1..4 if job.squeeze_mib > 0 => {
                // Touched, or the kernel would not have to find it.
                let mut map = sys::Map::anonymous(job.squeeze_mib << 20)?;
                map.bytes()
                    .iter_mut()
                    .step_by(PAGE)
                    .for_each(|byte| *byte = 1);
            }
            4..20 => {
                // Fails when less can be had.
                let _ = std::fs::write("/sys/fs/cgroup/memory.reclaim", "4M");
            }
            _ => {}
        }
        sys::sleep_ms(10);
    }
}

fn count(name: &str, number: u64) {
    println!("count {name} {number}");
}

/// One worker: files of its own, and a file that its threads race for.
fn work(job: &Job, worker: usize) -> Result<bool> {
    let seed = job.seed ^ (worker as u64) << 32;
    let root = job.root.join(format!("worker.{worker}"));
    let end = Instant::now() + Duration::from_secs(job.seconds);
    let stop = job.root.join("stop");
    let mut random = Random::new(!seed);
    let mut total = BTreeMap::<&'static str, u64>::new();
    let (mut pages, mut failures, mut rounds) = (0, 0, 0);
    let enough = job.pages / job.workers.max(1) as u64;
    while Instant::now() < end && (job.pages == 0 || pages < enough) {
        // Each round is a history of its own, so that it can be made shorter.
        let seed = seed.wrapping_add(rounds << 16);
        rounds += 1;
        let mut chooser = Chooser::new(seed, job.files, unit(job), job.reads);
        let mut world = match World::new(root.clone(), job.files, unit(job), job.errors) {
            Ok(world) => world,
            Err(_) if job.errors => {
                failures += 1;
                sys::sleep_ms(50);
                continue;
            }
            Err(error) => return Err(error),
        };
        let mut steps = Vec::new();
        let mut found = None;
        for _ in 0..3000 {
            if Instant::now() >= end || (job.pages > 0 && pages + world.checked / 8 > enough) {
                break;
            }
            let step = chooser.next();
            steps.push(step);
            found = match world.step(step) {
                Ok(found) => found,
                Err(_) if job.errors => {
                    failures += 1;
                    None
                }
                Err(error) => {
                    println!("seed {}, worker {worker}, round {rounds}", job.seed);
                    return Err(error);
                }
            };
            if found.is_some() {
                break;
            }
        }
        if found.is_none() {
            let (last, done) = world.finish()?;
            found = last;
            world = done;
        }
        pages += world.checked / PER_PAGE as u64;
        failures += world.failures;
        for (name, number) in &world.done {
            *total.entry(name).or_default() += number;
        }
        if let Some(mismatch) = found {
            tell(job, worker, rounds, steps, &mismatch);
            return Ok(false);
        }
        if !job.errors {
            let how = match random.below(4) {
                0 => None,
                1 => Some(Direct::Sync),
                2 => Some(Direct::Aio),
                _ if world.missing.contains("io_uring-write") => None,
                _ => Some(Direct::Uring),
            };
            let name = match how {
                None => "race-write",
                Some(Direct::Sync) => "race-direct",
                Some(Direct::Aio) => "race-aio",
                Some(_) => "race-io_uring",
            };
            let path = job.root.join(format!("race.{worker}"));
            let time = Duration::from_millis(400);
            match race::run(&path, seed, time, how) {
                Ok(checked) => pages += checked,
                Err(error) => {
                    println!("WRONG: seed {}, worker {worker}: {error:#}", job.seed);
                    return Ok(false);
                }
            }
            *total.entry(name).or_default() += 1;
        }
        if stop.exists() {
            break;
        }
    }
    for (name, number) in &total {
        count(name, *number);
    }
    count("pages", pages);
    count("failures", failures);
    Ok(true)
}

fn unit(job: &Job) -> usize {
    (job.block / crate::block::BLOCK).max(1)
}

/// Says what was wrong, and the shortest history of it that can be found.
fn tell(job: &Job, worker: usize, round: u64, steps: Vec<Step>, mismatch: &Mismatch) {
    println!(
        "WRONG: seed {}, worker {worker}, round {round}, step {}: {}",
        job.seed,
        steps.len(),
        mismatch.text
    );
    let end = Instant::now() + Duration::from_secs(30);
    let related = shrink::related(&steps, mismatch.file);
    for pressure in PRESSURES {
        let fails = |steps: &[Step]| replay(job, worker, steps, pressure).unwrap_or(false);
        if fails(&related) {
            let short = shrink::shorten(related, fails, || Instant::now() < end);
            println!(
                "shortest history that does it again, {} steps:",
                short.len()
            );
            show(&short);
            let names: Vec<&str> = pressure.iter().map(Op::name).collect();
            println!("and after each, on its files: {}", names.join(", "));
            return;
        }
    }
    println!(
        "it does not happen again: it took a race. The last of {} steps:",
        related.len()
    );
    show(&related);
}

fn show(steps: &[Step]) {
    for step in &steps[steps.len().saturating_sub(40)..] {
        println!("  {step}");
    }
}

const PAGE_OUT: Op = Op::PageOut {
    from: 0,
    count: MOST,
};
const READ: Op = Op::Read {
    how: Reading::Plain,
    from: 0,
    count: MOST,
};

/// What is done to the files of each step when a history is done again.
const PRESSURES: [&[Op]; 2] = [
    // The step finds its files in zcache, and nothing is put before they are read.
    &[Op::Sync, Op::Forget, READ, PAGE_OUT],
    // What the step left goes to zcache.
    &[PAGE_OUT],
];

/// Does steps anew, in a new folder, with a pressure after each.
fn replay(job: &Job, worker: usize, steps: &[Step], pressure: &[Op]) -> Result<bool> {
    let root = job.root.join(format!("replay.{worker}"));
    let mut world = World::new(root, job.files, unit(job), job.errors)?;
    for step in steps {
        if world.step(*step)?.is_some() {
            return Ok(true);
        }
        for file in [Some(step.file), step.op.other()].into_iter().flatten() {
            for op in pressure {
                if world.step(Step { file, op: *op })?.is_some() {
                    return Ok(true);
                }
            }
        }
    }
    Ok(world.finish()?.0.is_some())
}

/// Fails unless each operation of a list was done, and each guard of another
/// had something to drop. Counts are read from what `run` printed and the kernel.
///
/// # Errors
///
/// A name that has no count.
pub fn guards_were_needed(names: &[String]) -> Result<bool> {
    let counts = control::guards();
    let mut all = true;
    for name in names {
        let Some(count) = counts.get(name) else {
            bail!("no guard is called {name}");
        };
        let verdict = if *count > 0 { "ok" } else { "FAIL" };
        println!("{verdict}: guard {name} was needed {count} times");
        all &= *count > 0;
    }
    Ok(all)
}
