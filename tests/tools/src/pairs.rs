// SPDX-License-Identifier: GPL-2.0

//! What pairs of guests say about one workload: the median difference, and how
//! sure it is.

use crate::bench::{machine, note_device, read_json};
use crate::counters::is_level;
use crate::load::Load;
use crate::stats::{interval, median, percent_more, Interval};
use anyhow::{ensure, Context, Result};
use serde_json::{json, Map, Value};
use std::fs;
use std::path::PathBuf;

/// What to put side by side.
pub struct Job {
    /// The file of records; those of other workloads and devices in it stay.
    pub json: PathBuf,
    /// `slow` or `fast`.
    pub device: String,
    /// How much more time the second arm may take, in percent.
    pub limit: Option<f64>,
    /// How long a put may take in it that stores nothing, in nanoseconds.
    pub limit_ns_a_page: Option<f64>,
    /// Records: of the first arm, of the second, and so on, pair by pair.
    pub files: Vec<PathBuf>,
}

struct Metric {
    name: &'static str,
    unit: &'static str,
    of: fn(&Load) -> f64,
}

const METRICS: [Metric; 5] = [
    Metric {
        name: "seconds",
        unit: "s",
        of: |load| load.seconds,
    },
    Metric {
        name: "cpu_seconds",
        unit: "s",
        of: |load| load.cpu_seconds,
    },
    Metric {
        name: "disk_reads",
        unit: "reads",
        of: |load| load.disk_reads as f64,
    },
    Metric {
        name: "disk_read_bytes",
        unit: "bytes",
        of: |load| load.disk_read_bytes as f64,
    },
    Metric {
        name: "reclaimed_pages",
        unit: "pages",
        of: |load| load.reclaimed_pages as f64,
    },
];

/// Writes the records and prints the table; false if the interval of what has a
/// limit does not lie below it.
///
/// # Errors
///
/// Records that cannot be read or do not make pairs, or a file that cannot be
/// written.
pub fn run(job: &Job) -> Result<bool> {
    let mut loads = Vec::new();
    for file in &job.files {
        let text = fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
        let load: Load =
            serde_json::from_str(&text).with_context(|| format!("{}", file.display()))?;
        loads.push(load);
    }
    ensure!(
        loads.len() >= 2 && loads.len() % 2 == 0,
        "these are no pairs"
    );
    let arms: [Vec<&Load>; 2] =
        [0, 1].map(|arm| loads.iter().skip(arm).step_by(2).collect::<Vec<_>>());
    for side in &arms {
        let same = |load: &&Load| (&load.workload, &load.arm) == (&side[0].workload, &side[0].arm);
        ensure!(side.iter().all(same), "the pairs are mixed up");
    }
    ensure!(arms[0][0].workload == arms[1][0].workload, "two workloads");

    let workload = arms[0][0].workload.clone();
    // What other arms had to say of this workload stays: guests, or turns of one.
    let both = [0, 1].map(|arm| arms[arm][0].arm.clone());
    let of_this = |record: &Value| {
        let arm = match &record["first"] {
            Value::Null => &record["arm"],
            first => first,
        };
        record["workload"] == workload
            && record["device"] == job.device
            && both.iter().any(|name| *arm == **name)
    };
    let mut value = read_json(&job.json)?;
    value.insert("machine".into(), machine()?.into());
    value.insert("kernel".into(), arms[0][0].kernel.clone().into());
    // Each guest has measured it: the first will do.
    if let Some((load, latency)) = loads
        .iter()
        .find_map(|load| Some((load, load.latency.as_ref()?)))
    {
        note_device(&mut value, &job.device, load.asked_ms, latency);
    }
    let mut records = take(&mut value, "records");
    records.retain(|record| !of_this(record));
    let mut pairs = take(&mut value, "pairs");
    pairs.retain(|record| !of_this(record));
    for metric in &METRICS {
        for side in &arms {
            records.push(record(job, side, metric.name, metric.unit, metric.of));
        }
    }
    for name in names(&arms) {
        for side in arms.iter().filter(|side| !side[0].counters.is_empty()) {
            let of = |load: &Load| load.counters.get(&name).copied().unwrap_or(0) as f64;
            records.push(record(job, side, &name, unit(&name), of));
        }
    }

    println!(
        "{workload} ({} device), {} pairs, {:.1} x RAM: {} against {}",
        job.device,
        arms[0].len(),
        pressure(arms[0][0]),
        arms[1][0].arm,
        arms[0][0].arm
    );
    let mut holds = true;
    for metric in &METRICS {
        let [first, second] = [0, 1].map(|arm| {
            arms[arm]
                .iter()
                .map(|load| (metric.of)(load))
                .collect::<Vec<_>>()
        });
        let more = percent_more(&first, &second);
        let (Some(one), Some(other)) = (median(&first), median(&second)) else {
            continue;
        };
        let sure = interval(&more);
        let limit = job.limit.filter(|_| metric.name == "seconds");
        let below = limit.map(|limit| verdict(sure, limit) == HOLDS);
        holds &= below != Some(false);
        println!("{}", line(metric.name, one, other, &more, sure, limit));
        pairs.push(json!({
            "workload": workload,
            "device": job.device,
            "metric": metric.name,
            "first": arms[0][0].arm,
            "second": arms[1][0].arm,
            "pairs": more.len(),
            "percent_more": {
                "median": median(&more),
                "low": sure.map(|sure| sure.low),
                "high": sure.map(|sure| sure.high),
            },
            "limit": limit,
            "holds": below,
        }));
    }
    let costs = ns_a_page(&arms);
    if !costs.is_empty() {
        let sure = interval(&costs);
        println!(
            "{}",
            cost_line("CPU time a reclaimed page", &costs, sure, None)
        );
        pairs.push(json!({
            "workload": workload,
            "device": job.device,
            "metric": "ns_a_reclaimed_page",
            "first": arms[0][0].arm,
            "second": arms[1][0].arm,
            "pairs": costs.len(),
            "ns_more": {
                "median": median(&costs),
                "low": sure.map(|sure| sure.low),
                "high": sure.map(|sure| sure.high),
            },
        }));
    }
    let refusals: Vec<f64> = arms[1].iter().filter_map(|load| refused_ns(load)).collect();
    let limit = job.limit_ns_a_page;
    if limit.is_some() || !refusals.is_empty() {
        let sure = interval(&refusals);
        // Without puts to go by, what has a limit has not kept it.
        let below = limit.map(|limit| verdict(sure, limit) == HOLDS);
        holds &= below != Some(false);
        println!(
            "{}",
            cost_line("a put that was refused", &refusals, sure, limit)
        );
        records.push(json!({
            "workload": workload,
            "arm": arms[1][0].arm,
            "device": job.device,
            "pressure": pressure(arms[1][0]),
            "metric": "refused_put_mean_ns",
            "unit": "ns, by zcache's own clock",
            "samples": refusals,
            "limit": limit,
            "holds": below,
        }));
    }
    value.insert("records".into(), records.into());
    value.insert("pairs".into(), pairs.into());
    let text = serde_json::to_string_pretty(&Value::Object(value))?;
    fs::write(&job.json, text + "\n").with_context(|| format!("{}", job.json.display()))?;
    Ok(holds)
}

fn take(value: &mut Map<String, Value>, name: &str) -> Vec<Value> {
    match value.remove(name) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

fn pressure(load: &Load) -> f64 {
    load.bytes as f64 / load.ram_bytes as f64
}

fn record(job: &Job, side: &[&Load], metric: &str, unit: &str, of: impl Fn(&Load) -> f64) -> Value {
    let samples: Vec<f64> = side.iter().map(|load| of(load)).collect();
    json!({
        "workload": side[0].workload,
        "arm": side[0].arm,
        "device": job.device,
        "pressure": pressure(side[0]),
        "metric": metric,
        "unit": unit,
        "samples": samples,
    })
}

/// What a counter of zcache counts from.
fn unit(name: &str) -> &'static str {
    match (is_level(name), name.starts_with("timing_")) {
        (true, true) => "ns, of all since boot",
        (true, false) => "at the end of what was measured",
        (false, _) => "since the start of what was measured",
    }
}

/// Counters of zcache that were not nought in any guest.
fn names(arms: &[Vec<&Load>; 2]) -> Vec<String> {
    let moved = arms.iter().flatten().flat_map(|load| &load.counters);
    let mut names: Vec<String> = moved
        .filter(|(_, value)| **value != 0)
        .map(|(name, _)| name.clone())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// What the second arm took more, for each page that its reclaim took; none
/// where hardly any was.
fn ns_a_page(arms: &[Vec<&Load>; 2]) -> Vec<f64> {
    let pair = arms[0].iter().zip(&arms[1]);
    pair.filter(|(_, second)| second.reclaimed_pages >= 1000)
        .map(|(first, second)| {
            (second.cpu_seconds - first.cpu_seconds) * 1e9 / second.reclaimed_pages as f64
        })
        .collect()
}

/// How long a put took in the mean that did not store its page; only a guest with
/// `zcache_timing` knows.
fn refused_ns(load: &Load) -> Option<f64> {
    let of = |name: &str| load.counters.get(name).copied().unwrap_or(0) as f64;
    let puts = of("timing_eph_refused") + of("timing_pers_refused");
    let ns = of("timing_eph_refused_ns") + of("timing_pers_refused_ns");
    (puts >= 1000.0).then(|| ns / puts)
}

fn line(
    name: &str,
    one: f64,
    other: f64,
    more: &[f64],
    sure: Option<Interval>,
    limit: Option<f64>,
) -> String {
    let number = |value: f64| match value {
        value if value < 1000.0 => format!("{value:.3}"),
        value => format!("{value:.0}"),
    };
    let mut line = format!("  {name:<16}{:>11} {:>11}", number(one), number(other));
    if let Some(median) = median(more) {
        line += &format!("  {median:+6.1} %");
    }
    match sure {
        Some(sure) => line += &format!(" ({:+.1} to {:+.1})", sure.low, sure.high),
        None if more.is_empty() => {}
        None => line += " (too few pairs)",
    }
    if let Some(limit) = limit {
        line += &format!(" {limit:+} %: {}", verdict(sure, limit));
    }
    line
}

fn cost_line(what: &str, costs: &[f64], sure: Option<Interval>, limit: Option<f64>) -> String {
    let mut line = format!("  {what}:");
    match median(costs) {
        Some(cost) => line += &format!(" {cost:+.0} ns"),
        None => line += " hardly any",
    }
    match sure {
        Some(sure) => line += &format!(" ({:+.0} to {:+.0})", sure.low, sure.high),
        None => line += " (too few pairs)",
    }
    if let Some(limit) = limit {
        line += &format!(" {limit:+} ns: {}", verdict(sure, limit));
    }
    line
}

const HOLDS: &str = "holds";

/// Whether what was measured lies below a limit, as far as it can be told.
fn verdict(sure: Option<Interval>, limit: f64) -> &'static str {
    match sure {
        Some(sure) if sure.high <= limit => HOLDS,
        Some(sure) if sure.low > limit => "MISSED",
        _ => "not shown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Latency;
    use std::collections::BTreeMap;
    use std::path::Path;

    fn job(folder: &Path, limit: f64, pairs: &[(f64, f64)]) -> Result<Job> {
        let mut files = Vec::new();
        for (number, (one, other)) in pairs.iter().enumerate() {
            for (arm, seconds) in [("stock", one), ("zcache", other)] {
                let load = Load {
                    workload: "stream".into(),
                    arm: arm.into(),
                    kernel: "7.3".into(),
                    ram_bytes: 100,
                    bytes: 400,
                    asked_ms: 2,
                    latency: None,
                    seconds: *seconds,
                    cpu_seconds: seconds / 2.0,
                    disk_reads: 0,
                    disk_read_bytes: 0,
                    reclaimed_pages: 1000,
                    counters: BTreeMap::new(),
                };
                let file = folder.join(format!("{arm}-{number}"));
                fs::write(&file, serde_json::to_string(&load)?)?;
                files.push(file);
            }
        }
        Ok(Job {
            json: folder.join("bench.json"),
            device: "fast".into(),
            limit: Some(limit),
            limit_ns_a_page: None,
            files,
        })
    }

    #[test]
    fn limit_holds_only_below_the_whole_interval() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let pairs: Vec<_> = (0..8).map(|n| (1.0, 1.0 + f64::from(n) / 100.0)).collect();
        assert!(run(&job(folder.path(), 7.1, &pairs)?)?);
        assert!(!run(&job(folder.path(), 6.0, &pairs)?)?);
        // Five cannot show it, however good they are.
        assert!(!run(&job(folder.path(), 50.0, &pairs[..5])?)?);
        let value = read_json(&folder.path().join("bench.json"))?;
        let of = value["pairs"].as_array().context("pairs")?;
        assert_eq!(of[0]["holds"], false);
        assert_eq!(of[0]["percent_more"]["high"], Value::Null);
        assert_eq!(
            value["records"][0]["samples"].as_array().map(Vec::len),
            Some(5)
        );
        assert_eq!(value["records"][0]["pressure"], 4.0);
        Ok(())
    }

    #[test]
    fn device_is_noted_as_it_was_measured() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut job = job(folder.path(), 9.0, &[(1.0, 1.0); 6])?;
        assert!(run(&job)?);
        // Nobody measured it.
        assert_eq!(read_json(&job.json)?.get("device"), None);
        for (number, file) in job.files.iter().enumerate() {
            let mut load: Load = serde_json::from_str(&fs::read_to_string(file)?)?;
            load.latency = Some(Latency {
                p50_ms: 2.5 + number as f64,
                p99_ms: 9.0,
                reads: 20,
            });
            fs::write(file, serde_json::to_string(&load)?)?;
        }
        assert!(run(&job)?);
        job.device = "slow".into();
        assert!(run(&job)?);
        let measured = json!({"asked_ms": 2, "p50_ms": 2.5, "p99_ms": 9.0, "reads": 20});
        let value = read_json(&job.json)?;
        assert_eq!(value["device"], json!({"fast": measured, "slow": measured}));
        Ok(())
    }

    #[test]
    fn refusals_of_both_halves_have_one_mean() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let job = job(folder.path(), 9.0, &[(1.0, 1.0); 6])?;
        for file in job.files.iter().skip(1).step_by(2) {
            let mut load: Load = serde_json::from_str(&fs::read_to_string(file)?)?;
            for (name, value) in [
                ("timing_eph_refused", 600),
                ("timing_eph_refused_ns", 60_000),
                ("timing_pers_refused", 600),
                ("timing_pers_refused_ns", 540_000),
            ] {
                load.counters.insert(name.into(), value);
            }
            fs::write(file, serde_json::to_string(&load)?)?;
        }
        assert!(run(&job)?);
        let value = read_json(&job.json)?;
        let of = value["records"].as_array().and_then(|list| list.last());
        let record = of.context("the last")?;
        assert_eq!(record["metric"], "refused_put_mean_ns");
        assert_eq!(record["samples"], json!(vec![500.0; 6]));
        Ok(())
    }

    #[test]
    fn a_level_has_another_unit_than_what_grew() {
        assert!(unit("eph_puts").starts_with("since the start"));
        assert!(unit("timing_eph_put_ns").starts_with("since the start"));
        assert!(unit("frames").starts_with("at the end"));
        assert!(unit("timing_eph_put_p99_ns").ends_with("since boot"));
    }

    #[test]
    fn cost_of_a_page_is_the_difference_over_the_pages() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let job = job(folder.path(), 9.0, &[(1.0, 1.002); 6])?;
        assert!(run(&job)?);
        let value = read_json(&job.json)?;
        let of = value["pairs"].as_array().and_then(|list| list.last());
        let cost = of.context("the last")?["ns_more"]["median"].as_f64();
        assert!((cost.context("a number")? - 1000.0).abs() < 0.1);
        Ok(())
    }

    #[test]
    fn limit_of_a_put_holds_only_below_the_whole_interval() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut job = job(folder.path(), 9.0, &[(1.0, 1.0); 8])?;
        // Nothing was refused, so nothing is shown.
        assert!(run(&job)?);
        job.limit_ns_a_page = Some(1e9);
        assert!(!run(&job)?);
        // 500, 600 to 1200 ns a put.
        for (number, file) in job.files.iter().skip(1).step_by(2).enumerate() {
            let mut load: Load = serde_json::from_str(&fs::read_to_string(file)?)?;
            load.counters.insert("timing_eph_refused".into(), 1000);
            let ns = (500 + 100 * number as i64) * 1000;
            load.counters.insert("timing_eph_refused_ns".into(), ns);
            fs::write(file, serde_json::to_string(&load)?)?;
        }
        for (limit, holds) in [(1201.0, true), (1000.0, false), (400.0, false)] {
            job.limit_ns_a_page = Some(limit);
            assert_eq!(run(&job)?, holds, "{limit}");
            let value = read_json(&job.json)?;
            let of = value["records"].as_array().and_then(|list| list.last());
            let puts = of.context("the last")?;
            assert_eq!(puts["metric"], "refused_put_mean_ns");
            assert_eq!(
                (&puts["limit"], &puts["holds"]),
                (&limit.into(), &holds.into())
            );
        }
        Ok(())
    }

    #[test]
    fn cost_of_a_page_is_told_in_80_columns() {
        let sure = interval(&[-1234.0, -10.0, 3.0, 4.0, 5.0, 12345.0]);
        let line = cost_line("CPU time a reclaimed page", &[812.3], sure, Some(1000.0));
        assert_eq!(
            line,
            "  CPU time a reclaimed page: +812 ns (-1234 to +12345) +1000 ns: not shown"
        );
        assert!(line.len() <= 80);
        let sure = interval(&[1.0; 6]);
        assert!(cost_line("", &[1.0; 6], sure, Some(1.0)).ends_with("+1 ns: holds"));
        assert!(cost_line("", &[1.0; 6], sure, Some(0.5)).ends_with("+0.5 ns: MISSED"));
        assert!(cost_line("", &[], None, Some(1.0)).ends_with("+1 ns: not shown"));
    }

    #[test]
    fn what_makes_no_pairs_is_refused() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut job = job(folder.path(), 9.0, &[(1.0, 1.0); 2])?;
        job.files.swap(0, 1);
        assert!(run(&job).is_err());
        job.files.truncate(1);
        assert!(run(&job).is_err());
        job.files.clear();
        assert!(run(&job).is_err());
        Ok(())
    }
}
