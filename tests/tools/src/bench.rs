// SPDX-License-Identifier: GPL-2.0

//! Side by side: what guests measured with one workload, as flat records in
//! `bench.json` and as a table.

use crate::device::Latency;
use crate::record::{Arm, Pass};
use crate::stats::{interval, median, Interval};
use anyhow::{bail, Context, Result};
use serde_json::{json, Map, Value};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const PAGE: f64 = 4096.0;

/// What to put side by side.
pub struct Job {
    /// The file of records; those of other workloads and devices in it stay.
    pub json: PathBuf,
    /// Name of the workload.
    pub workload: String,
    /// `slow` or `fast`.
    pub device: String,
    /// Records of guests. Several of one arm count as one.
    pub files: Vec<PathBuf>,
}

/// A number that is taken from each pass; none where it does not exist.
struct Metric {
    name: &'static str,
    unit: &'static str,
    of: fn(&Round) -> Option<f64>,
}

/// A pass, and the one before it in the same record.
struct Round {
    pass: Pass,
    before: BTreeMap<String, u64>,
    /// Which of its arm's records it is from.
    turn: usize,
}

/// One arm, out of one record or several.
struct Side {
    name: String,
    tree_bytes: u64,
    ram_bytes: u64,
    rounds: Vec<Round>,
    /// Records so far.
    turns: usize,
    mismatches: u64,
}

/// A number that is taken from a turn of the first arm and the same turn of another one.
struct PairMetric {
    name: &'static str,
    unit: &'static str,
    /// What of the first arm, and what of the other.
    of: (Taken, Taken),
    /// Both as one number.
    change: fn(f64, f64) -> f64,
}

/// What is taken from a pass.
type Taken = fn(&Round) -> Option<f64>;

const PAIR_METRICS: [PairMetric; 4] = [
    PairMetric {
        name: "seconds_change",
        unit: "%",
        of: (seconds, seconds),
        change: |first, other| 100.0 * (other / first - 1.0),
    },
    PairMetric {
        name: "put_found_of_stored",
        unit: "%",
        of: (put_stored, put_found),
        change: |first, other| 100.0 * other / first,
    },
    PairMetric {
        name: "put_stored_change_ns",
        unit: "ns",
        of: (put_stored, put_stored),
        change: |first, other| other - first,
    },
    PairMetric {
        name: "put_missed_change_ns",
        unit: "ns",
        of: (put_missed, put_missed),
        change: |first, other| other - first,
    },
];

fn seconds(round: &Round) -> Option<f64> {
    Some(round.pass.seconds)
}

fn put_found(round: &Round) -> Option<f64> {
    clocked(round, "timing_found", 1)
}

fn put_stored(round: &Round) -> Option<f64> {
    clocked(round, "timing_stored", 6)
}

/// What of a stored put is for equal pages, and all that comes before.
fn put_missed(round: &Round) -> Option<f64> {
    clocked(round, "timing_missed", 3)
}

const METRICS: [Metric; 14] = [
    Metric {
        name: "seconds",
        unit: "s",
        of: seconds,
    },
    Metric {
        name: "disk_read_bytes",
        unit: "bytes",
        of: |round| Some(round.pass.disk_read_bytes as f64),
    },
    Metric {
        name: "stored_pages",
        unit: "pages",
        of: |round| counter(&round.pass, "stored_pages"),
    },
    Metric {
        name: "frames",
        unit: "frames",
        of: |round| counter(&round.pass, "frames"),
    },
    Metric {
        name: "pages_per_frame",
        unit: "pages/frame",
        of: |round| ratio(&round.pass, "stored_pages", "frames"),
    },
    Metric {
        name: "dedup_ratio",
        unit: "pages/copy",
        of: |round| ratio(&round.pass, "dedup_pages", "pcd_count"),
    },
    Metric {
        name: "dedup_bytes_per_page",
        unit: "bytes/page",
        of: |round| ratio(&round.pass, "dedup_metadata_bytes", "stored_pages"),
    },
    Metric {
        name: "metadata_bytes_per_page",
        unit: "bytes/page",
        of: |round| ratio(&round.pass, "metadata_bytes", "stored_pages"),
    },
    Metric {
        name: "dedup_puts",
        unit: "puts",
        of: |round| since(round, "dedup_puts"),
    },
    Metric {
        name: "eph_puts",
        unit: "puts",
        of: |round| since(round, "eph_puts"),
    },
    Metric {
        name: "put_found_mean_ns",
        unit: "ns",
        of: put_found,
    },
    Metric {
        name: "put_stored_mean_ns",
        unit: "ns",
        of: put_stored,
    },
    Metric {
        name: "put_missed_mean_ns",
        unit: "ns",
        of: put_missed,
    },
    Metric {
        name: "clock_mean_ns",
        unit: "ns",
        of: |round| mean(round, "timing_nothing"),
    },
];

fn counter(pass: &Pass, name: &str) -> Option<f64> {
    pass.counters.get(name).map(|value| *value as f64)
}

/// How much a counter grew in this pass.
fn since(round: &Round, name: &str) -> Option<f64> {
    let before = round.before.get(name)?;
    Some(counter(&round.pass, name)? - *before as f64)
}

/// Mean of the times that were added to `name` in this pass.
fn mean(round: &Round, name: &str) -> Option<f64> {
    let count = since(round, name).filter(|count| *count >= 100.0)?;
    Some(since(round, &format!("{name}_ns"))? / count)
}

/// Such a mean without the `looks` at the clock that are in it.
fn clocked(round: &Round, name: &str, looks: u32) -> Option<f64> {
    Some(mean(round, name)? - f64::from(looks) * mean(round, "timing_nothing")?)
}

fn ratio(pass: &Pass, above: &str, below: &str) -> Option<f64> {
    let below = counter(pass, below).filter(|value| *value != 0.0)?;
    Some(counter(pass, above)? / below)
}

/// Writes the records and prints the table; false if a byte was wrong.
///
/// # Errors
///
/// A record that cannot be read, or a file that cannot be written.
pub fn run(job: &Job) -> Result<bool> {
    let mut sides: Vec<Side> = Vec::new();
    let mut first = None;
    for file in &job.files {
        let text = fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
        let arm: Arm =
            serde_json::from_str(&text).with_context(|| format!("{}", file.display()))?;
        if arm.passes.len() < 2 {
            bail!("{} has fewer than two passes", file.display());
        }
        first = first.or(Some((
            arm.kernel.clone(),
            arm.asked_ms,
            arm.latency.clone(),
        )));
        add(&mut sides, arm);
    }
    let Some((kernel, asked_ms, latency)) = first else {
        bail!("no records");
    };
    let mut value = read_json(&job.json)?;
    value.insert("machine".into(), Value::String(machine()?));
    value.insert("kernel".into(), Value::String(kernel));
    if let Some(latency) = latency {
        note_device(&mut value, &job.device, asked_ms, &latency);
    }
    let mut records = match value.remove("records") {
        Some(Value::Array(records)) => records,
        _ => Vec::new(),
    };
    records.retain(|record| record["workload"] != job.workload || record["device"] != job.device);
    records.extend(new_records(job, &sides));
    value.insert("records".into(), Value::Array(records));
    fs::write(
        &job.json,
        serde_json::to_string_pretty(&Value::Object(value))? + "\n",
    )
    .with_context(|| format!("cannot write {}", job.json.display()))?;
    print!("{}", table(job, &sides));
    Ok(sides.iter().all(|side| side.mismatches == 0))
}

/// Notes what latency a device was asked for and had, in an object of records.
pub fn note_device(value: &mut Map<String, Value>, name: &str, asked_ms: u64, latency: &Latency) {
    let devices = value
        .entry("device")
        .or_insert_with(|| Value::Object(Map::new()));
    if let Some(devices) = devices.as_object_mut() {
        devices.insert(
            name.to_string(),
            json!({
                "asked_ms": asked_ms,
                "p50_ms": latency.p50_ms,
                "p99_ms": latency.p99_ms,
                "reads": latency.reads,
            }),
        );
    }
}

/// Adds a record to those of its arm. The first pass of each is the cold one, and does not count
/// but for its errors.
fn add(sides: &mut Vec<Side>, arm: Arm) {
    let place = match sides.iter().position(|side| side.name == arm.name) {
        Some(place) => place,
        None => {
            sides.push(Side {
                name: arm.name,
                tree_bytes: arm.tree_bytes,
                ram_bytes: arm.ram_bytes,
                rounds: Vec::new(),
                turns: 0,
                mismatches: 0,
            });
            sides.len() - 1
        }
    };
    let side = &mut sides[place];
    let turn = side.turns;
    side.turns += 1;
    let mut before = None;
    for pass in arm.passes {
        side.mismatches += pass.mismatches;
        let counters = pass.counters.clone();
        if let Some(before) = before.replace(counters) {
            side.rounds.push(Round { pass, before, turn });
        }
    }
}

/// The object in a file of records; an empty one where there is no file.
///
/// # Errors
///
/// Something else is in it.
pub fn read_json(path: &Path) -> Result<Map<String, Value>> {
    if !path.exists() {
        return Ok(Map::new());
    }
    match serde_json::from_str(&fs::read_to_string(path)?) {
        Ok(Value::Object(value)) => Ok(value),
        _ => bail!("{} is not a file of records", path.display()),
    }
}

/// Processors, and what they are.
///
/// # Errors
///
/// No `/proc/cpuinfo`.
pub fn machine() -> Result<String> {
    let text = fs::read_to_string("/proc/cpuinfo").context("/proc/cpuinfo")?;
    let model = text
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, model)| model);
    let count = text
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    Ok(format!("{count} x {model}"))
}

fn samples(side: &Side, metric: &Metric) -> Vec<f64> {
    side.rounds.iter().filter_map(metric.of).collect()
}

/// The metric of each turn of `other` against the same turn of `first`, where both have one.
fn pairs(first: &Side, other: &Side, metric: &PairMetric) -> Vec<f64> {
    let of_turn = |side: &Side, turn: usize, of: Taken| {
        let rounds = side.rounds.iter().filter(|round| round.turn == turn);
        median(&rounds.filter_map(of).collect::<Vec<_>>())
    };
    (0..first.turns.min(other.turns))
        .filter_map(|turn| {
            let first = of_turn(first, turn, metric.of.0)?;
            Some((metric.change)(first, of_turn(other, turn, metric.of.1)?))
        })
        .collect()
}

fn pressure(side: &Side) -> f64 {
    side.tree_bytes as f64 / side.ram_bytes as f64
}

fn new_records(job: &Job, sides: &[Side]) -> Vec<Value> {
    let mut records = Vec::new();
    for side in sides {
        for metric in &METRICS {
            let samples = samples(side, metric);
            if !samples.is_empty() {
                records.push(record(job, side, metric.name, metric.unit, &samples));
            }
        }
    }
    if let [first, others @ ..] = sides {
        for other in others {
            for metric in &PAIR_METRICS {
                let samples = pairs(first, other, metric);
                if !samples.is_empty() {
                    records.push(record(job, other, metric.name, metric.unit, &samples));
                }
            }
        }
    }
    records
}

fn record(job: &Job, side: &Side, metric: &str, unit: &str, samples: &[f64]) -> Value {
    json!({
        "workload": job.workload,
        "arm": side.name,
        "device": job.device,
        "pressure": pressure(side),
        "metric": metric,
        "unit": unit,
        "samples": samples,
    })
}

/// Medians, one column an arm.
fn table(job: &Job, sides: &[Side]) -> String {
    let mut lines = String::new();
    let tree = sides.first().map_or(0, |side| side.tree_bytes) as f64 / PAGE;
    let pressure = sides.first().map_or(0.0, pressure);
    lines += &format!(
        "{} ({} device): {tree:.0} pages of files, {pressure:.2} times the RAM; medians of {} passes\n",
        job.workload,
        job.device,
        sides.first().map_or(0, |side| side.rounds.len()),
    );
    lines += &format!("  {:<28}", "");
    for side in sides {
        lines += &format!("{:>14}", side.name);
    }
    lines += "\n";
    for metric in &METRICS {
        let medians: Vec<Option<f64>> = sides
            .iter()
            .map(|side| median(&samples(side, metric)))
            .collect();
        if medians.iter().all(Option::is_none) {
            continue;
        }
        lines += &format!("  {:<28}", metric.name);
        for median in medians {
            lines += &match median {
                None => format!("{:>14}", "-"),
                Some(value) if value < 1000.0 => format!("{value:>14.3}"),
                Some(value) => format!("{value:>14.0}"),
            };
        }
        lines += "\n";
    }
    if let [first, others @ ..] = sides {
        for other in others {
            lines += &paired(first, other);
        }
    }
    lines
}

/// What the turns of two arms say, one against the other.
fn paired(first: &Side, other: &Side) -> String {
    let mut lines = String::new();
    for metric in &PAIR_METRICS {
        let samples = pairs(first, other, metric);
        let Some(Interval { median, low, high }) = interval(&samples) else {
            continue;
        };
        if lines.is_empty() {
            lines += &format!(
                "  {:<28}{:>14}   95 % interval of the median\n",
                format!("{} against {}", other.name, first.name),
                "median",
            );
        }
        lines += &format!(
            "  {:<28}{median:>14.2}   {low:.2} to {high:.2} ({} pairs)\n",
            format!("{} ({})", metric.name, metric.unit),
            samples.len(),
        );
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm(name: &str, seconds: &[f64], frames: u64) -> Arm {
        let pass = |(number, seconds): (usize, &f64)| Pass {
            seconds: *seconds,
            verified_bytes: 1,
            mismatches: 0,
            disk_reads: 1,
            disk_read_bytes: 2,
            swap_read_bytes: 0,
            swap_written_bytes: 0,
            peak_page_cache_bytes: 0,
            pressure: None,
            counters: BTreeMap::from([
                ("stored_pages".to_string(), 30),
                ("frames".to_string(), frames),
                ("timing_found".to_string(), 0),
                ("timing_found_ns".to_string(), 0),
                ("timing_missed".to_string(), 200 * number as u64),
                ("timing_missed_ns".to_string(), 200_000 * number as u64),
                ("timing_nothing".to_string(), 200 * number as u64),
                ("timing_nothing_ns".to_string(), 20_000 * number as u64),
            ]),
        };
        Arm {
            name: name.to_string(),
            kernel: "7.3".to_string(),
            command_line: String::new(),
            ram_bytes: 100,
            tree_files: 1,
            tree_bytes: 150,
            asked_ms: 0,
            latency: None,
            status: None,
            through: Vec::new(),
            bare: None,
            passes: seconds.iter().enumerate().map(pass).collect(),
        }
    }

    fn job(folder: &Path, arms: &[Arm]) -> Result<Job> {
        let mut files = Vec::new();
        for (number, arm) in arms.iter().enumerate() {
            let file = folder.join(format!("{number}.json"));
            fs::write(&file, serde_json::to_string(arm)?)?;
            files.push(file);
        }
        Ok(Job {
            json: folder.join("bench.json"),
            workload: "twotrees".to_string(),
            device: "fast".to_string(),
            files,
        })
    }

    #[test]
    fn cold_passes_do_not_count_and_boots_add_up() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let arms = [
            arm("both", &[9.0, 1.0, 3.0], 20),
            arm("dedup", &[9.0, 2.0], 10),
            arm("both", &[9.0, 2.0], 20),
        ];
        let job = job(folder.path(), &arms)?;
        assert!(run(&job)?);
        let value = read_json(&job.json)?;
        let records = value["records"].as_array().context("records")?;
        let of = |arm: &str, metric: &str| {
            records
                .iter()
                .find(|record| record["arm"] == arm && record["metric"] == metric)
                .map(|record| record["samples"].clone())
        };
        assert_eq!(of("both", "seconds"), Some(json!([1.0, 3.0, 2.0])));
        assert_eq!(of("dedup", "pages_per_frame"), Some(json!([3.0])));
        // What was not measured is no record.
        assert_eq!(of("both", "put_found_mean_ns"), None);
        assert_eq!(of("dedup", "put_missed_mean_ns"), Some(json!([700.0])));
        assert_eq!(of("both", "dedup_ratio"), None);
        // Once more: nothing twice.
        let count = records.len();
        assert!(run(&job)?);
        let again = read_json(&job.json)?;
        assert_eq!(again["records"].as_array().map(Vec::len), Some(count));
        Ok(())
    }

    #[test]
    fn turns_are_compared_in_pairs() -> Result<()> {
        let folder = tempfile::tempdir()?;
        // Each turn of the second arm takes a tenth more than that of the first, and turns differ
        // by far more than that.
        let arms: Vec<Arm> = (1..=10)
            .flat_map(|turn| {
                let time = f64::from(turn);
                [
                    arm("both", &[9.0, time, time], 20),
                    arm("dedup", &[9.0, 1.1 * time, 1.1 * time], 10),
                ]
            })
            .collect();
        let job = job(folder.path(), &arms)?;
        assert!(run(&job)?);
        let value = read_json(&job.json)?;
        let records = value["records"].as_array().context("records")?;
        let change = records
            .iter()
            .find(|record| record["metric"] == "seconds_change")
            .context("seconds_change")?;
        assert_eq!(change["arm"], "dedup");
        let samples = change["samples"].as_array().context("samples")?;
        assert_eq!(samples.len(), 10);
        for sample in samples {
            assert!((sample.as_f64().context("a number")? - 10.0).abs() < 1e-6);
        }
        // Nothing was found or stored here.
        assert!(!records
            .iter()
            .any(|record| record["metric"] == "put_found_of_stored"));
        Ok(())
    }

    #[test]
    fn other_workloads_stay_and_wrong_bytes_tell() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut wrong = arm("both", &[9.0, 1.0], 20);
        wrong.passes[0].mismatches = 1;
        let mut job = job(folder.path(), &[wrong])?;
        fs::write(&job.json, r#"{"records": [{"workload": "zipf"}]}"#)?;
        assert!(!run(&job)?);
        let value = read_json(&job.json)?;
        assert_eq!(value["records"][0]["workload"], "zipf");
        fs::write(&job.json, "[]")?;
        assert!(run(&job).is_err());
        job.files.clear();
        assert!(run(&job).is_err());
        Ok(())
    }
}
