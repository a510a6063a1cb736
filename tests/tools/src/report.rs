// SPDX-License-Identifier: GPL-2.0

//! Puts the three arms side by side: `run.json`, a table, a plot, and in plain
//! words what was gained.

use crate::plot;
use crate::pressure::{self, Pressure};
use crate::record::{Arm, Pass};
use anyhow::{bail, Context, Result};
use serde_json::{json, Map, Value};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const MIB: f64 = 1048576.0;
const PAGE: f64 = 4096.0;

/// Writes `run.json` and the plot and prints the table; false if a byte was
/// wrong or zcache did not run in its arm.
///
/// # Errors
///
/// A record that cannot be read, or a file that cannot be written.
pub fn run(records: [&Path; 3], json: &Path, svg: &Path) -> Result<bool> {
    let mut arms = Vec::new();
    for record in records {
        let text = fs::read_to_string(record).with_context(|| format!("{}", record.display()))?;
        let arm: Arm =
            serde_json::from_str(&text).with_context(|| format!("{}", record.display()))?;
        if arm.passes.len() < 2 {
            bail!("{} has fewer than two passes", record.display());
        }
        arms.push(arm);
    }
    let value = merged(&arms);
    fs::write(json, serde_json::to_string_pretty(&value)? + "\n")
        .with_context(|| format!("cannot write {}", json.display()))?;
    fs::write(svg, plot::draw(&arms)?)
        .with_context(|| format!("cannot write {}", svg.display()))?;
    print!("{}", table(&arms));
    print!("{}", words(&arms));
    let wrong = total(&arms, |pass| pass.mismatches);
    let absent = arms[1].passes.iter().all(|pass| pass.counters.is_empty());
    if absent {
        println!("FAILED: zcache was not on in its arm: {}", status(&arms[1]));
    }
    if wrong > 0 {
        println!("FAILED: {wrong} files had wrong content");
    }
    Ok(wrong == 0 && !absent)
}

fn status(arm: &Arm) -> &str {
    arm.status
        .as_deref()
        .unwrap_or("no /sys/kernel/mm/zcache/status")
}

fn total(arms: &[Arm], of: fn(&Pass) -> u64) -> u64 {
    let all = |arm| -> u64 { passes(arm).map(of).sum() };
    arms.iter().map(all).sum()
}

/// Every pass of an arm, the one without a command as well.
fn passes(arm: &Arm) -> impl Iterator<Item = &Pass> {
    arm.passes.iter().chain(&arm.bare)
}

/// The counters of the last pass.
fn last(arm: &Arm) -> &BTreeMap<String, u64> {
    static NONE: BTreeMap<String, u64> = BTreeMap::new();
    arm.passes.last().map_or(&NONE, |pass| &pass.counters)
}

fn merged(arms: &[Arm]) -> Value {
    let mut by_name = Map::new();
    for arm in arms {
        let list = |of: fn(&Pass) -> Value| -> Vec<Value> { arm.passes.iter().map(of).collect() };
        by_name.insert(
            arm.name.clone(),
            json!({
                "seconds": list(|pass| pass.seconds.into()),
                "disk_reads": list(|pass| pass.disk_reads.into()),
                "disk_read_bytes": list(|pass| pass.disk_read_bytes.into()),
                "swap_read_bytes": list(|pass| pass.swap_read_bytes.into()),
                "swap_written_bytes": list(|pass| pass.swap_written_bytes.into()),
                "peak_page_cache_bytes": list(|pass| pass.peak_page_cache_bytes.into()),
                "ram_bytes": arm.ram_bytes,
                "pressure": pressure::lists(&stalls(arm)),
                "command_line": arm.command_line,
                "latency": arm.latency,
                "read_only_seconds": arm.bare.as_ref().map(|pass| pass.seconds),
            }),
        );
    }
    let zcache = &arms[1];
    let passes: Vec<_> = zcache.passes.iter().map(|pass| &pass.counters).collect();
    let measured = arms[0].latency.as_ref();
    json!({
        "kernel": zcache.kernel,
        "tree": { "files": zcache.tree_files, "bytes": zcache.tree_bytes,
                  "to_page_cache": to_page_cache(arms) },
        "arms": by_name,
        "zcache": last(zcache),
        "zcache_by_pass": passes,
        "zcache_status": zcache.status,
        "through": zcache.through,
        "verified_bytes": total(arms, |pass| pass.verified_bytes),
        "mismatches": total(arms, |pass| pass.mismatches),
        "device": { "asked_ms": arms[0].asked_ms,
                    "measured_ms": measured.map(|latency| latency.p50_ms),
                    "measured_p99_ms": measured.map(|latency| latency.p99_ms) },
        "gain": gain(arms).map(|gain| json!({
            "disk_reads_cut": gain.reads_cut,
            "times_as_fast": gain.times_as_fast,
            "to_ram": gain.to_ram,
            "to_ram_with_cold_pass": gain.to_ram_with_cold_pass,
        })),
    })
}

/// The tree's size over the page cache that the arm without zcache had at most.
fn to_page_cache(arms: &[Arm]) -> f64 {
    let peak = arms[0].passes.iter().map(|pass| pass.peak_page_cache_bytes);
    arms[0].tree_bytes as f64 / peak.max().unwrap_or(1).max(1) as f64
}

/// What zcache changed, over all passes but the cold first.
struct Gain {
    /// Share of disk reads that are gone, 0 to 1.
    reads_cut: f64,
    /// Time without zcache over time with it.
    times_as_fast: f64,
    /// Time with zcache over time with RAM to spare.
    to_ram: f64,
    /// The same with the cold pass, in which both wait for the disk.
    to_ram_with_cold_pass: f64,
}

/// None where there is nothing to divide by.
fn gain(arms: &[Arm]) -> Option<Gain> {
    let warm = |arm: usize, of: fn(&Pass) -> f64| -> f64 {
        arms[arm].passes[1..].iter().map(of).sum::<f64>()
    };
    let reads = |arm| warm(arm, |pass| pass.disk_read_bytes as f64);
    let seconds = |arm| warm(arm, |pass| pass.seconds);
    let all = |arm: usize| {
        arms[arm]
            .passes
            .iter()
            .map(|pass| pass.seconds)
            .sum::<f64>()
    };
    let valid = reads(0) > 0.0 && seconds(1) > 0.0 && seconds(2) > 0.0;
    valid.then(|| Gain {
        reads_cut: 1.0 - reads(1) / reads(0),
        times_as_fast: seconds(0) / seconds(1),
        to_ram: seconds(1) / seconds(2),
        to_ram_with_cold_pass: all(1) / all(2),
    })
}

/// What the store holds at the end of a pass, and what was asked of it since
/// the pass before.
struct Store {
    pages: u64,
    frames: u64,
    pages_a_frame: Option<f64>,
    with_metadata: Option<f64>,
    hit_rate: Option<f64>,
}

fn store(before: Option<&Pass>, pass: &Pass) -> Option<Store> {
    let get = |name: &str| pass.counters.get(name).copied();
    let since = |name: &str| {
        let old = before.and_then(|before| before.counters.get(name).copied());
        get(name).map(|value| value.saturating_sub(old.unwrap_or(0)))
    };
    let (pages, frames) = (get("stored_pages")?, get("frames")?);
    let ratio = |all: f64, by: f64| (by > 0.0).then(|| all / by);
    let metadata = get("metadata_bytes").unwrap_or(0) as f64 / PAGE;
    Some(Store {
        pages,
        frames,
        pages_a_frame: ratio(pages as f64, frames as f64),
        with_metadata: ratio(pages as f64, frames as f64 + metadata),
        hit_rate: since("eph_hits")
            .zip(since("eph_gets"))
            .and_then(|(hits, gets)| ratio(hits as f64, gets as f64)),
    })
}

/// How long tasks were stalled in each pass.
fn stalls(arm: &Arm) -> Vec<Option<Pressure>> {
    arm.passes.iter().map(|pass| pass.pressure).collect()
}

/// The line about it.
fn stalled(arms: &[Arm]) -> String {
    let all: Vec<_> = arms
        .iter()
        .map(|arm| (arm.name.as_str(), stalls(arm)))
        .collect();
    pressure::words(&all)
}

fn table(arms: &[Arm]) -> String {
    let mut text = String::from(
        "\narm     pass  seconds  MiB read  stored   frames  pages/frame (with   hits\n\
         \x20                      from disk  pages     held              metadata)\n",
    );
    for arm in arms {
        for (number, pass) in arm.passes.iter().enumerate() {
            let before = number.checked_sub(1).map(|index| &arm.passes[index]);
            text += &format!(
                "{:<7} {:>4} {:>8.2} {:>9.1}",
                arm.name,
                number + 1,
                pass.seconds,
                pass.disk_read_bytes as f64 / MIB
            );
            if let Some(store) = store(before, pass) {
                text += &format!(
                    " {:>7} {:>8} {:>9}   {:>9} {:>8}",
                    store.pages,
                    store.frames,
                    number_or_dash(store.pages_a_frame, "", 1.0),
                    number_or_dash(store.with_metadata, "", 1.0),
                    number_or_dash(store.hit_rate, "%", 100.0),
                );
            }
            text.push('\n');
        }
    }
    text.push('\n');
    text
}

fn number_or_dash(value: Option<f64>, unit: &str, scale: f64) -> String {
    match value {
        Some(value) if scale > 1.0 => format!("{:.0}{unit}", value * scale),
        Some(value) => format!("{value:.2}{unit}"),
        None => "-".to_string(),
    }
}

fn words(arms: &[Arm]) -> String {
    let mut text = String::new();
    if !arms[1].through.is_empty() {
        text += &format!(
            "A pass reads and verifies every file, and pipes it through `{}`.\n",
            arms[1].through.join(" ")
        );
    }
    text += &format!(
        "{} files, {:.0} MiB: {:.1} times the page cache that {:.0} MiB of RAM left.\n\
         {:.0} MiB read and verified in all, {} files wrong.\n",
        arms[0].tree_files,
        arms[0].tree_bytes as f64 / MIB,
        to_page_cache(arms),
        arms[0].ram_bytes as f64 / MIB,
        total(arms, |pass| pass.verified_bytes) as f64 / MIB,
        total(arms, |pass| pass.mismatches)
    );
    if let Some(gain) = gain(arms) {
        text += &format!(
            "From the second pass on, zcache: {}, {}.\n\
             Against RAM to spare: {:.2} times the time, {:.2} times with the cold pass.\n",
            cut_in_words(gain.reads_cut),
            speed_in_words(gain.times_as_fast),
            gain.to_ram,
            gain.to_ram_with_cold_pass
        );
    }
    text += &stalled(arms);
    if let (Some(zcache), Some(ram)) = (&arms[1].bare, &arms[2].bare) {
        text += &format!(
            "Only reading, nothing done with it: {:.2} s, with RAM to spare {:.2} s.\n",
            zcache.seconds, ram.seconds
        );
    }
    text
}

fn cut_in_words(cut: f64) -> String {
    if cut >= 0.0 {
        format!("{:.0} % less read from disk", cut * 100.0)
    } else {
        format!("{:.0} % MORE read from disk", -cut * 100.0)
    }
}

fn speed_in_words(times: f64) -> String {
    if times >= 1.0 {
        format!("{times:.1} times as fast")
    } else {
        format!("{:.1} times SLOWER", 1.0 / times)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    fn pass(seconds: f64, disk: u64, counters: &[(&str, u64)]) -> Pass {
        Pass {
            seconds,
            verified_bytes: 100,
            mismatches: 0,
            disk_reads: disk / 10,
            disk_read_bytes: disk,
            swap_read_bytes: 0,
            swap_written_bytes: 0,
            peak_page_cache_bytes: 50 << 20,
            pressure: None,
            counters: counters
                .iter()
                .map(|(name, value)| (name.to_string(), *value))
                .collect(),
        }
    }

    fn arm(name: &str, passes: Vec<Pass>) -> Arm {
        Arm {
            name: name.to_string(),
            kernel: "7.3".to_string(),
            command_line: String::new(),
            ram_bytes: 128 << 20,
            tree_files: 3,
            tree_bytes: 100 << 20,
            asked_ms: 2,
            latency: None,
            status: None,
            through: Vec::new(),
            passes,
            bare: None,
        }
    }

    /// Three arms whose figures are easy to work out by hand.
    pub fn arms() -> Vec<Arm> {
        let first = [
            ("stored_pages", 30),
            ("frames", 20),
            ("eph_gets", 100),
            ("eph_hits", 0),
        ];
        let second = [
            ("stored_pages", 30),
            ("frames", 20),
            ("metadata_bytes", 4 * 4096),
            ("eph_gets", 200),
            ("eph_hits", 90),
        ];
        vec![
            arm("none", vec![pass(10.0, 1000, &[]), pass(10.0, 1000, &[])]),
            arm(
                "zcache",
                vec![pass(10.0, 1000, &first), pass(2.0, 100, &second)],
            ),
            arm("ram", vec![pass(10.0, 1000, &[]), pass(1.0, 0, &[])]),
        ]
    }

    #[test]
    fn gain_leaves_the_cold_pass_out() {
        let gain = gain(&arms()).expect("there is something to divide by");
        assert!((gain.reads_cut - 0.9).abs() < 1e-9);
        assert!((gain.times_as_fast - 5.0).abs() < 1e-9);
        assert!((gain.to_ram - 2.0).abs() < 1e-9);
        assert!((gain.to_ram_with_cold_pass - 12.0 / 11.0).abs() < 1e-9);
    }

    #[test]
    fn hits_are_counted_within_the_pass() {
        let arms = arms();
        let passes = &arms[1].passes;
        let store = store(Some(&passes[0]), &passes[1]).expect("it has counters");
        assert!((store.hit_rate.expect("gets were asked") - 0.9).abs() < 1e-9);
        assert!((store.pages_a_frame.expect("it has frames") - 1.5).abs() < 1e-9);
        assert!((store.with_metadata.expect("it has frames") - 1.25).abs() < 1e-9);
    }

    #[test]
    fn the_merged_record_has_one_value_a_pass() {
        let value = merged(&arms());
        for name in ["none", "zcache", "ram"] {
            for list in [
                "seconds",
                "disk_read_bytes",
                "swap_read_bytes",
                "swap_written_bytes",
            ] {
                let list = &value["arms"][name][list];
                assert_eq!(list.as_array().map(Vec::len), Some(2));
            }
        }
        assert_eq!(value["zcache"]["eph_hits"], 90);
        assert_eq!(value["verified_bytes"], 600);
        assert_eq!(value["mismatches"], 0);
        assert_eq!(value["device"]["asked_ms"], 2);
    }

    #[test]
    fn a_wrong_file_counts_in_every_pass() {
        let mut arms = arms();
        arms[2].passes[0].mismatches = 1;
        let mut bare = pass(1.0, 0, &[]);
        bare.mismatches = 2;
        arms[1].bare = Some(bare);
        assert_eq!(merged(&arms)["mismatches"], 3);
    }

    #[test]
    fn what_people_read_fits_80_columns() {
        let mut all = arms();
        for arm in &mut all {
            arm.through = vec!["gzip".to_string(), "-1".to_string()];
            arm.bare = Some(pass(100.0, 0, &[]));
        }
        for text in [table(&all), words(&all)] {
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{line}");
            }
        }
    }

    #[test]
    fn a_loss_is_called_a_loss() {
        let mut arms = arms();
        arms[1].passes[1].seconds = 20.0;
        arms[1].passes[1].disk_read_bytes = 1500;
        let text = words(&arms);
        assert!(text.contains("50 % MORE read"), "{text}");
        assert!(text.contains("2.0 times SLOWER"), "{text}");
    }
}
