// SPDX-License-Identifier: GPL-2.0

//! Programs that want about as much memory as there is, one after the other:
//! how many of them the kernel kills.

use crate::counters;
use crate::swapper::Random;
use anyhow::{bail, ensure, Context, Result};
use serde::{Deserialize, Serialize};
use std::env;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const PAGE: usize = 4096;
/// Parts of RAM that are wanted, in percent.
const LEVELS: [u64; 5] = [90, 100, 110, 120, 130];

/// What happened at one level.
#[derive(Debug, Serialize, Deserialize)]
pub struct Level {
    /// Memory wanted, in percent of RAM.
    pub percent: u64,
    /// Programs that ran.
    pub runs: u64,
    /// Those that were killed.
    pub killed: u64,
}

/// In a guest: a process at each level; the record goes to `json`. `file` is read
/// while memory is filled.
///
/// # Errors
///
/// A process that cannot be started, or ends in another way than well or
/// killed; a kill that the kernel did not count.
pub fn run(file: &Path, seed: u64, json: &Path) -> Result<bool> {
    // Not this one; what it starts undoes that.
    fs::write("/proc/self/oom_score_adj", "-1000").context("oom_score_adj")?;
    let ram = counters::memory()?.total_bytes;
    let mut levels = Vec::new();
    for percent in LEVELS {
        let before = counters::vmstat("oom_kill")?;
        let status = Command::new(env::current_exe()?)
            .args(["eat", "--seed", &seed.to_string()])
            .args(["--bytes", &(ram / 100 * percent).to_string()])
            .arg(file)
            .status()?;
        let killed = counters::vmstat("oom_kill")? - before;
        ensure!(
            status.success() || status.signal() == Some(9),
            "{percent} %, seed {seed}: {status}"
        );
        ensure!(killed == u64::from(!status.success()), "{killed} kills");
        let end = if killed == 0 { "lives" } else { "killed" };
        println!("{percent} % of RAM, seed {seed}: {end}");
        levels.push(Level {
            percent,
            runs: 1,
            killed,
        });
    }
    fs::write(json, serde_json::to_string_pretty(&levels)?)?;
    Ok(true)
}

/// One of those programs. Half of its pages shrink to a half, a quarter does
/// not shrink, a quarter is half zeroes; each is looked at once more.
///
/// # Errors
///
/// A file that cannot be read, or a page that is not what was written.
pub fn eat(bytes: u64, seed: u64, file: &Path) -> Result<bool> {
    fs::write("/proc/self/oom_score_adj", "1000").context("oom_score_adj")?;
    let mut file = File::open(file)?;
    let mut read = vec![0; 16 * PAGE];
    let mut pages: Vec<Box<[u8]>> = Vec::new();
    let mut random = Random::new(seed);
    for number in 0..bytes as usize / PAGE {
        pages.push(page(&mut random));
        // As many bytes of the file as of memory.
        if number % 16 == 0 && file.read(&mut read)? == 0 {
            file.rewind()?;
        }
    }
    let mut random = Random::new(seed);
    let right = pages.iter().all(|held| *held == page(&mut random));
    ensure!(right, "a page is not what was written");
    Ok(true)
}

fn page(random: &mut Random) -> Box<[u8]> {
    let kind = random.below(4);
    let mut page = vec![0u8; PAGE].into_boxed_slice();
    for (number, word) in page.chunks_exact_mut(8).enumerate() {
        let noise = random.next();
        let value = match kind {
            0 => noise,
            1 if number >= PAGE / 16 => 0,
            1 => noise,
            _ => noise & 0x0f0f_0f0f_0f0f_0f0f,
        };
        word.copy_from_slice(&value.to_le_bytes());
    }
    page
}

/// On the host: the kills of both, side by side; false if there are more with
/// zcache. `records` are those of a guest without zcache and one with it, and so
/// on. The sums are added to `json`.
///
/// # Errors
///
/// Records that cannot be read, or do not come in pairs.
pub fn report(records: &[PathBuf], json: &Path) -> Result<bool> {
    let (mut stock, mut zcache) = (Vec::new(), Vec::new());
    for pair in records.chunks(2) {
        let [one, other] = pair else {
            bail!("a record without its pair: {}", pair[0].display());
        };
        add(&mut stock, one)?;
        add(&mut zcache, other)?;
    }
    let mut value = crate::bench::read_json(json)?;
    println!("kills by want of memory   stock  zcache");
    for (stock, zcache) in stock.iter().zip(&zcache) {
        let percent = stock.percent;
        println!(
            "  {percent:>4} % of RAM, {} runs {:>7} {:>7}",
            stock.runs, stock.killed, zcache.killed
        );
    }
    value.insert(
        "oom".into(),
        serde_json::json!({"stock": stock, "zcache": zcache}),
    );
    let text = serde_json::to_string_pretty(&serde_json::Value::Object(value))?;
    fs::write(json, text + "\n")?;
    let all = |levels: &[Level]| levels.iter().map(|level| level.killed).sum::<u64>();
    Ok(all(&zcache) <= all(&stock))
}

/// Adds the levels of a record to those in `sums`.
fn add(sums: &mut Vec<Level>, record: &Path) -> Result<()> {
    let levels: Vec<Level> = serde_json::from_str(&fs::read_to_string(record)?)?;
    for level in levels {
        match sums.iter_mut().find(|sum| sum.percent == level.percent) {
            Some(sum) => {
                sum.runs += level.runs;
                sum.killed += level.killed;
            }
            None => sums.push(level),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_from_the_seed_and_differ() {
        let make = |seed| {
            let mut random = Random::new(seed);
            (0..32).map(|_| page(&mut random)).collect::<Vec<_>>()
        };
        let pages = make(3);
        assert_eq!(pages, make(3));
        assert_ne!(pages, make(4));
        assert!(pages
            .iter()
            .enumerate()
            .all(|(number, one)| { pages[number + 1..].iter().all(|other| one != other) }));
    }

    #[test]
    fn more_kills_with_zcache_tell() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name);
        for (name, killed) in [("few", 1), ("many", 2)] {
            let level = Level {
                percent: 90,
                runs: 2,
                killed,
            };
            fs::write(path(name), serde_json::to_string(&[level])?)?;
        }
        let fits = |names: &[&str]| {
            let records: Vec<_> = names.iter().map(|name| path(name)).collect();
            report(&records, &path("out"))
        };
        assert!(fits(&["many", "few"])?);
        assert!(fits(&["few", "few"])?);
        assert!(fits(&["few", "many", "many", "few"])?);
        assert!(!fits(&["few", "many"])?);
        assert!(!fits(&["few", "many", "few", "few"])?);
        let value = crate::bench::read_json(&path("out"))?;
        let zcache = &value["oom"]["zcache"][0];
        assert_eq!((&zcache["runs"], &zcache["killed"]), (&4.into(), &3.into()));
        assert!(fits(&["few"]).is_err());
        Ok(())
    }
}
