// SPDX-License-Identifier: GPL-2.0

//! Side by side: what guests measured with one workload, as flat records in
//! `bench.json` and as a table.

use crate::record::{Arm, Pass};
use anyhow::{bail, Context, Result};
use serde_json::{json, Map, Value};
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
    of: fn(&Pass) -> Option<f64>,
}

const METRICS: [Metric; 14] = [
    Metric {
        name: "seconds",
        unit: "s",
        of: |pass| Some(pass.seconds),
    },
    Metric {
        name: "disk_read_bytes",
        unit: "bytes",
        of: |pass| Some(pass.disk_read_bytes as f64),
    },
    Metric {
        name: "stored_pages",
        unit: "pages",
        of: |pass| counter(pass, "stored_pages"),
    },
    Metric {
        name: "frames",
        unit: "frames",
        of: |pass| counter(pass, "frames"),
    },
    Metric {
        name: "pages_per_frame",
        unit: "pages/frame",
        of: |pass| ratio(pass, "stored_pages", "frames"),
    },
    Metric {
        name: "dedup_ratio",
        unit: "pages/copy",
        of: |pass| ratio(pass, "dedup_pages", "pcd_count"),
    },
    Metric {
        name: "dedup_bytes_per_page",
        unit: "bytes/page",
        of: |pass| ratio(pass, "dedup_metadata_bytes", "stored_pages"),
    },
    Metric {
        name: "metadata_bytes_per_page",
        unit: "bytes/page",
        of: |pass| ratio(pass, "metadata_bytes", "stored_pages"),
    },
    Metric {
        name: "dedup_puts",
        unit: "puts",
        of: |pass| counter(pass, "dedup_puts"),
    },
    Metric {
        name: "eph_puts",
        unit: "puts",
        of: |pass| counter(pass, "eph_puts"),
    },
    Metric {
        name: "put_found_mean_ns",
        unit: "ns",
        of: |pass| clocked(pass, "timing_found_mean_ns", 1),
    },
    Metric {
        name: "put_stored_mean_ns",
        unit: "ns",
        of: |pass| clocked(pass, "timing_stored_mean_ns", 6),
    },
    Metric {
        name: "put_missed_mean_ns",
        unit: "ns",
        of: |pass| clocked(pass, "timing_missed_mean_ns", 3),
    },
    Metric {
        name: "clock_mean_ns",
        unit: "ns",
        of: |pass| measured(pass, "timing_nothing_mean_ns"),
    },
];

fn counter(pass: &Pass, name: &str) -> Option<f64> {
    pass.counters.get(name).map(|value| *value as f64)
}

fn measured(pass: &Pass, name: &str) -> Option<f64> {
    counter(pass, name).filter(|value| *value != 0.0)
}

/// A time without the `looks` at the clock that are in it.
fn clocked(pass: &Pass, name: &str, looks: u32) -> Option<f64> {
    let clock = measured(pass, "timing_nothing_mean_ns")?;
    Some(measured(pass, name)? - f64::from(looks) * clock)
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
    let mut arms: Vec<Arm> = Vec::new();
    for file in &job.files {
        let text = fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
        let mut arm: Arm =
            serde_json::from_str(&text).with_context(|| format!("{}", file.display()))?;
        if arm.passes.len() < 2 {
            bail!("{} has fewer than two passes", file.display());
        }
        // The cold one is the same for all.
        let cold = arm.passes.remove(0);
        let wrong = cold.mismatches;
        match arms.iter_mut().find(|known| known.name == arm.name) {
            Some(known) => known.passes.append(&mut arm.passes),
            None => arms.push(arm),
        }
        if let Some(last) = arms.last_mut().and_then(|arm| arm.passes.last_mut()) {
            last.mismatches += wrong;
        }
    }
    let Some(first) = arms.first() else {
        bail!("no records");
    };
    let mut value = read_json(&job.json)?;
    value.insert("machine".into(), Value::String(machine()?));
    value.insert("kernel".into(), Value::String(first.kernel.clone()));
    let devices = value
        .entry("device")
        .or_insert_with(|| Value::Object(Map::new()));
    if let (Some(devices), Some(latency)) = (devices.as_object_mut(), &first.latency) {
        devices.insert(
            job.device.clone(),
            json!({"asked_ms": first.asked_ms, "p50_ms": latency.p50_ms, "p99_ms": latency.p99_ms}),
        );
    }
    let mut records = match value.remove("records") {
        Some(Value::Array(records)) => records,
        _ => Vec::new(),
    };
    records.retain(|record| record["workload"] != job.workload || record["device"] != job.device);
    records.extend(new_records(job, &arms));
    value.insert("records".into(), Value::Array(records));
    fs::write(
        &job.json,
        serde_json::to_string_pretty(&Value::Object(value))? + "\n",
    )
    .with_context(|| format!("cannot write {}", job.json.display()))?;
    print!("{}", table(job, &arms));
    Ok(arms
        .iter()
        .flat_map(|arm| &arm.passes)
        .all(|pass| pass.mismatches == 0))
}

fn read_json(path: &Path) -> Result<Map<String, Value>> {
    if !path.exists() {
        return Ok(Map::new());
    }
    match serde_json::from_str(&fs::read_to_string(path)?) {
        Ok(Value::Object(value)) => Ok(value),
        _ => bail!("{} is not a file of records", path.display()),
    }
}

fn machine() -> Result<String> {
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

fn samples(arm: &Arm, metric: &Metric) -> Vec<f64> {
    arm.passes.iter().filter_map(metric.of).collect()
}

fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    Some(match sorted.len() % 2 {
        0 => (sorted[sorted.len() / 2 - 1] + upper) / 2.0,
        _ => upper,
    })
}

fn pressure(arm: &Arm) -> f64 {
    arm.tree_bytes as f64 / arm.ram_bytes as f64
}

fn new_records(job: &Job, arms: &[Arm]) -> Vec<Value> {
    let mut records = Vec::new();
    for arm in arms {
        for metric in &METRICS {
            let samples = samples(arm, metric);
            if !samples.is_empty() {
                records.push(json!({
                    "workload": job.workload,
                    "arm": arm.name,
                    "device": job.device,
                    "pressure": pressure(arm),
                    "metric": metric.name,
                    "unit": metric.unit,
                    "samples": samples,
                }));
            }
        }
    }
    records
}

/// Medians, one column an arm.
fn table(job: &Job, arms: &[Arm]) -> String {
    let mut lines = String::new();
    let tree = arms.first().map_or(0, |arm| arm.tree_bytes) as f64 / PAGE;
    let pressure = arms.first().map_or(0.0, pressure);
    lines += &format!(
        "{} ({} device): {tree:.0} pages of files, {pressure:.2} times the RAM; medians of {} passes\n",
        job.workload,
        job.device,
        arms.first().map_or(0, |arm| arm.passes.len()),
    );
    lines += &format!("  {:<28}", "");
    for arm in arms {
        lines += &format!("{:>14}", arm.name);
    }
    lines += "\n";
    for metric in &METRICS {
        let medians: Vec<Option<f64>> = arms
            .iter()
            .map(|arm| median(&samples(arm, metric)))
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
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn arm(name: &str, seconds: &[f64], frames: u64) -> Arm {
        let pass = |seconds: &f64| Pass {
            seconds: *seconds,
            verified_bytes: 1,
            mismatches: 0,
            disk_read_bytes: 2,
            swap_read_bytes: 0,
            swap_written_bytes: 0,
            peak_page_cache_bytes: 0,
            counters: BTreeMap::from([
                ("stored_pages".to_string(), 30),
                ("frames".to_string(), frames),
                ("timing_found_mean_ns".to_string(), 0),
                ("timing_missed_mean_ns".to_string(), 1000),
                ("timing_nothing_mean_ns".to_string(), 100),
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
            passes: seconds.iter().map(pass).collect(),
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

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
    }
}
