// SPDX-License-Identifier: GPL-2.0

//! Puts the three arms of the swap workload side by side: under `swap` in
//! `run.json`, as a table, and in plain words.

use crate::pressure::{self, Pressure};
use crate::swap::{SwapArm, SwapPass};
use anyhow::{bail, Context, Result};
use serde_json::{json, Map, Value};
use std::fs;
use std::path::Path;

const MIB: f64 = 1048576.0;
const PAGE: f64 = 4096.0;

/// Adds the arms to what `json` holds already, and prints them; false if
/// anything was wrong or zcache took no page in its arm.
///
/// # Errors
///
/// A record that cannot be read, or a file that cannot be written.
pub fn run(records: [&Path; 3], json: &Path) -> Result<bool> {
    let mut arms = Vec::new();
    for record in records {
        let text = fs::read_to_string(record).with_context(|| format!("{}", record.display()))?;
        let arm: SwapArm =
            serde_json::from_str(&text).with_context(|| format!("{}", record.display()))?;
        if arm.passes.len() < 2 {
            bail!("{} has nothing but the loading", record.display());
        }
        arms.push(arm);
    }
    let mut whole = match fs::read_to_string(json) {
        Ok(text) => serde_json::from_str(&text).with_context(|| format!("{}", json.display()))?,
        Err(_) => json!({}),
    };
    whole["swap"] = merged(&arms);
    fs::write(json, serde_json::to_string_pretty(&whole)? + "\n")
        .with_context(|| format!("cannot write {}", json.display()))?;
    print!("{}{}", table(&arms), words(&arms));
    let wrong = total(&arms, |pass| pass.mismatches);
    let absent = counter(&arms[1], "pers_puts") == 0;
    if absent {
        println!("FAILED: zcache took no swapped page in its arm");
    }
    if wrong > 0 {
        println!("FAILED: {wrong} files in memory had wrong content");
    }
    Ok(wrong == 0 && !absent)
}

fn total(arms: &[SwapArm], of: fn(&SwapPass) -> u64) -> u64 {
    arms.iter().flat_map(|arm| &arm.passes).map(of).sum()
}

/// A counter at the end of the last pass.
fn counter(arm: &SwapArm, name: &str) -> u64 {
    let last = arm.passes.last();
    last.and_then(|pass| pass.counters.get(name).copied())
        .unwrap_or(0)
}

/// Sum over the visits, which are all passes but the loading.
fn visits(arm: &SwapArm, of: fn(&SwapPass) -> f64) -> f64 {
    arm.passes[1..].iter().map(of).sum()
}

/// Share of the reads from the swap device that are gone, 0 to 1.
fn reads_cut(arms: &[SwapArm]) -> Option<f64> {
    let reads = |arm| visits(arm, |pass| pass.swap_read_bytes as f64);
    (reads(&arms[0]) > 0.0).then(|| 1.0 - reads(&arms[1]) / reads(&arms[0]))
}

/// Swapped pages that zcache holds for each of its frames.
fn pages_a_frame(pass: &SwapPass) -> Option<f64> {
    let pages = *pass.counters.get("pers_stored_pages")?;
    let frames = *pass.counters.get("pers_frames")?;
    (frames > 0).then(|| pages as f64 / frames as f64)
}

fn merged(arms: &[SwapArm]) -> Value {
    let mut by_name = Map::new();
    for arm in arms {
        let list =
            |of: fn(&SwapPass) -> Value| -> Vec<Value> { arm.passes.iter().map(of).collect() };
        by_name.insert(
            arm.name.clone(),
            json!({
                "seconds": list(|pass| pass.seconds.into()),
                "swap_read_bytes": list(|pass| pass.swap_read_bytes.into()),
                "swap_written_bytes": list(|pass| pass.swap_written_bytes.into()),
                "verified_bytes": list(|pass| pass.verified_bytes.into()),
                "pages": list(|pass| pass.counters.get("pers_stored_pages").copied().into()),
                "frames": list(|pass| pass.counters.get("pers_frames").copied().into()),
                "ram_bytes": arm.ram_bytes,
                "pressure": pressure::lists(&stalls(arm)),
                "command_line": arm.command_line,
                "latency": arm.latency,
            }),
        );
    }
    let zcache: Vec<_> = arms[1].passes.iter().map(|pass| &pass.counters).collect();
    let latency = arms[0].latency.as_ref();
    json!({
        "files": arms[1].files,
        "set_bytes": arms[1].set_bytes,
        "set_to_ram": arms[1].set_bytes as f64 / arms[1].ram_bytes as f64,
        "arms": by_name,
        "zcache": zcache.last(),
        "zcache_by_pass": zcache,
        "verified_bytes": total(arms, |pass| pass.verified_bytes),
        "mismatches": total(arms, |pass| pass.mismatches),
        "device": { "asked_ms": arms[0].asked_ms,
                    "measured_ms": latency.map(|latency| latency.p50_ms),
                    "measured_p99_ms": latency.map(|latency| latency.p99_ms) },
        "gain": { "swap_reads_cut": reads_cut(arms),
                  "pages_a_frame": arms[1].passes.last().and_then(pages_a_frame) },
    })
}

/// How long tasks were stalled in each pass.
fn stalls(arm: &SwapArm) -> Vec<Option<Pressure>> {
    arm.passes.iter().map(|pass| pass.pressure).collect()
}

/// The line about it.
fn stalled(arms: &[SwapArm]) -> String {
    let all: Vec<_> = arms
        .iter()
        .map(|arm| (arm.name.as_str(), stalls(arm)))
        .collect();
    pressure::words(&all)
}

fn table(arms: &[SwapArm]) -> String {
    let mut text = String::from(
        "\nswap    visits  seconds    MiB from   MiB to   pages    frames  pages/frame\n\
         \x20                         swap disk  it       stored   held\n",
    );
    for arm in arms {
        for (number, pass) in arm.passes.iter().enumerate() {
            let name = match number {
                0 => "load".to_string(),
                _ => number.to_string(),
            };
            text += &format!(
                "{:<7} {:>6} {:>8.2} {:>11.1} {:>8.1}",
                arm.name,
                name,
                pass.seconds,
                pass.swap_read_bytes as f64 / MIB,
                pass.swap_written_bytes as f64 / MIB,
            );
            if let (Some(pages), Some(frames)) = (
                pass.counters.get("pers_stored_pages"),
                pass.counters.get("pers_frames"),
            ) {
                text += &format!(" {pages:>8} {frames:>9}");
                if let Some(ratio) = pages_a_frame(pass) {
                    text += &format!(" {ratio:>12.2}");
                }
            }
            text.push('\n');
        }
    }
    text.push('\n');
    text
}

fn words(arms: &[SwapArm]) -> String {
    let zcache = &arms[1];
    let mut text = format!(
        "{} files in memory, {:.0} MiB: {:.2} times the RAM of {:.0} MiB.\n\
         {:.0} MiB of them visited and verified in all, {} files wrong.\n",
        zcache.files,
        zcache.set_bytes as f64 / MIB,
        zcache.set_bytes as f64 / zcache.ram_bytes as f64,
        zcache.ram_bytes as f64 / MIB,
        total(arms, |pass| pass.verified_bytes) as f64 / MIB,
        total(arms, |pass| pass.mismatches)
    );
    if let Some(cut) = reads_cut(arms) {
        let how = match cut >= 0.0 {
            true => format!("{:.0} % less", cut * 100.0),
            false => format!("{:.0} % MORE", -cut * 100.0),
        };
        let seconds = |arm| visits(arm, |pass| pass.seconds);
        text += &format!(
            "In the visits, zcache: {how} read from the swap disk;\n\
             {:.2} s instead of {:.2} s, and {:.2} s with RAM to spare.\n",
            seconds(zcache),
            seconds(&arms[0]),
            seconds(&arms[2])
        );
    }
    text += &stalled(arms);
    let metadata = counter(zcache, "metadata_bytes") as f64 / PAGE;
    let (pages, frames) = (
        counter(zcache, "pers_stored_pages") as f64,
        counter(zcache, "pers_frames") as f64,
    );
    if frames > 0.0 {
        text += &format!(
            "Swapped pages a frame at the end: {:.2}, {:.2} with all of zcache's metadata.\n",
            pages / frames,
            pages / (frames + metadata)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn pass(seconds: f64, read: u64, counters: &[(&str, u64)]) -> SwapPass {
        SwapPass {
            seconds,
            verified_bytes: 100,
            mismatches: 0,
            swap_read_bytes: read,
            swap_written_bytes: 7,
            pressure: Some(Pressure::default()),
            counters: counters
                .iter()
                .map(|(name, value)| (name.to_string(), *value))
                .collect::<BTreeMap<_, _>>(),
        }
    }

    fn arms() -> Vec<SwapArm> {
        let full = [
            ("pers_stored_pages", 40_000),
            ("pers_frames", 16_000),
            ("pers_puts", 90_000),
            ("metadata_bytes", 4000 * 4096),
        ];
        let arm = |name: &str, passes| SwapArm {
            name: name.to_string(),
            command_line: String::new(),
            ram_bytes: 100 << 20,
            files: 1000,
            set_bytes: 150 << 20,
            asked_ms: 2,
            latency: None,
            passes,
        };
        vec![
            arm("none", vec![pass(1.0, 500, &[]), pass(10.0, 1 << 30, &[])]),
            arm(
                "zcache",
                vec![pass(1.0, 0, &full), pass(2.0, 1 << 28, &full)],
            ),
            arm("ram", vec![pass(1.0, 0, &[]), pass(0.5, 0, &[])]),
        ]
    }

    #[test]
    fn the_loading_is_no_part_of_the_gain() {
        assert_eq!(reads_cut(&arms()), Some(0.75));
        assert_eq!(pages_a_frame(&arms()[1].passes[1]), Some(2.5));
        assert_eq!(pages_a_frame(&arms()[0].passes[1]), None);
    }

    #[test]
    fn what_is_in_the_file_stays() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut files = Vec::new();
        for arm in arms() {
            let file = folder.path().join(&arm.name);
            fs::write(&file, serde_json::to_string(&arm)?)?;
            files.push(file);
        }
        let json = folder.path().join("run.json");
        let records = [files[0].as_path(), files[1].as_path(), files[2].as_path()];
        fs::write(&json, "{\"kernel\": \"7.3\"}")?;
        assert!(run(records, &json)?);
        let value: Value = serde_json::from_str(&fs::read_to_string(&json)?)?;
        assert_eq!(value["kernel"], "7.3");
        for arm in ["none", "zcache", "ram"] {
            for name in ["seconds", "swap_read_bytes", "swap_written_bytes"] {
                let list = value["swap"]["arms"][arm][name].as_array();
                assert_eq!(list.map(Vec::len), Some(2));
            }
        }
        assert_eq!(value["swap"]["arms"]["zcache"]["frames"][1], 16_000);
        assert_eq!(value["swap"]["mismatches"], 0);
        fs::remove_file(&json)?;
        assert!(run(records, &json)?);
        Ok(())
    }

    #[test]
    fn an_idle_zcache_is_a_failure() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut arms = arms();
        arms[1].passes[1].counters.clear();
        let mut files = Vec::new();
        for arm in arms {
            let file = folder.path().join(&arm.name);
            fs::write(&file, serde_json::to_string(&arm)?)?;
            files.push(file);
        }
        let records = [files[0].as_path(), files[1].as_path(), files[2].as_path()];
        assert!(!run(records, &folder.path().join("run.json"))?);
        Ok(())
    }

    #[test]
    fn what_people_read_fits_80_columns() {
        for text in [table(&arms()), words(&arms())] {
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{line}");
            }
        }
    }
}
