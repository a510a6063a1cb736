// SPDX-License-Identifier: GPL-2.0

//! How much processor time a guest took, as the host counts it.
//!
//! A guest's own clock counts what the machine does for others meanwhile, and its
//! ticks charge whole milliseconds to whom they meet. The host knows to the
//! nanosecond what each of the guest's processes ran. It cannot be asked through
//! hostfs, as files of `/proc` have no length; so the guest makes a folder
//! `ask-NUMBER-PROCESS` in its results, and the host answers with a file.

use anyhow::{Context, Result};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// How long either side waits before it looks again.
const LOOK: Duration = Duration::from_millis(1);
/// Without an answer for so long there is nobody who answers.
const PATIENCE: Duration = Duration::from_secs(20);

/// On the host: runs a command that runs a guest, answers the guest's questions
/// in the folder `dir`, and ends with the command; true if it ended well.
///
/// # Errors
///
/// A command that cannot be started, a folder that cannot be read or written.
pub fn serve(dir: &Path, command: &[String]) -> Result<bool> {
    let (program, arguments) = command.split_first().context("no command")?;
    let mut child = Command::new(program).args(arguments).spawn()?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        for item in fs::read_dir(dir)? {
            let name = item?.file_name().to_string_lossy().into_owned();
            if let Some((number, process)) = asked(&name) {
                answer(dir, number, cpu_ns(Path::new("/proc"), process))?;
                fs::remove_dir(dir.join(&name))?;
            }
        }
        thread::sleep(LOOK);
    }
}

fn asked(name: &str) -> Option<(u64, u32)> {
    let (number, process) = name.strip_prefix("ask-")?.split_once('-')?;
    Some((number.parse().ok()?, process.parse().ok()?))
}

fn answer(dir: &Path, number: u64, ns: u64) -> Result<()> {
    let new = dir.join("answer.new");
    fs::write(&new, format!("{ns}\n"))?;
    fs::rename(new, dir.join(format!("answer-{number}")))?;
    Ok(())
}

/// Nanoseconds that a process and its children ran. The guest's kernel is one
/// process, each of its programs is a child of that.
fn cpu_ns(proc: &Path, process: u32) -> u64 {
    let mut total = 0;
    let Ok(folders) = fs::read_dir(proc) else {
        return 0;
    };
    for folder in folders.flatten() {
        let Ok(number) = folder.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        if number == process || parent(&folder.path()) == Some(process) {
            total += tasks_ns(&folder.path()).unwrap_or(0);
        }
    }
    total
}

/// The fourth word of `stat`; the second may have blanks and brackets in it.
fn parent(folder: &Path) -> Option<u32> {
    let text = fs::read_to_string(folder.join("stat")).ok()?;
    let after = text.rsplit_once(')')?.1;
    after.split_whitespace().nth(1)?.parse().ok()
}

fn tasks_ns(folder: &Path) -> Result<u64> {
    let mut total = 0;
    for task in fs::read_dir(folder.join("task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        let first = text.split_whitespace().next().context("schedstat")?;
        total += first.parse::<u64>()?;
    }
    Ok(total)
}

/// In the guest: what asks.
pub struct Meter {
    dir: PathBuf,
    process: u32,
    asked: u64,
}

impl Meter {
    /// `dir` is the folder that both see, `host_proc` the host's `/proc`.
    ///
    /// # Errors
    ///
    /// The host's `/proc` does not tell which process the guest is.
    pub fn new(dir: &Path, host_proc: &Path) -> Result<Self> {
        let own = fs::read_link(host_proc.join("self")).context("the host's /proc/self")?;
        Ok(Meter {
            dir: dir.to_path_buf(),
            process: own.to_string_lossy().parse().context("/proc/self")?,
            asked: 0,
        })
    }

    /// Nanoseconds of processor time that this guest has taken since its start.
    ///
    /// # Errors
    ///
    /// Nobody answers.
    pub fn cpu_ns(&mut self) -> Result<u64> {
        self.asked += 1;
        let name = format!("ask-{}-{}", self.asked, self.process);
        match fs::create_dir(self.dir.join(name)) {
            // The host was faster: it took the folder away before hostfs had
            // looked at what it had made.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            made => made?,
        }
        let file = self.dir.join(format!("answer-{}", self.asked));
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Ok(text) = fs::read_to_string(&file) {
                fs::remove_file(&file)?;
                return text.trim().parse().context("the answer");
            }
            thread::sleep(LOOK);
        }
        anyhow::bail!("the host does not answer: was this started by the meter?")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_answered_with_time_that_was_used() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let end = tempfile::tempdir()?;
        let dir = folder.path().to_path_buf();
        let wait = format!(
            "until [ -e {}/now ]; do sleep 0.01; done",
            end.path().display()
        );
        let host = thread::spawn(move || serve(&dir, &["sh".into(), "-c".into(), wait]));
        let mut meter = Meter::new(folder.path(), Path::new("/proc"))?;
        // No comparison of the two: other tests' threads end meanwhile, and with
        // them what they ran.
        assert!(meter.cpu_ns()? > 0);
        assert!(meter.cpu_ns()? > 0);
        fs::write(end.path().join("now"), "")?;
        assert!(host.join().is_ok_and(|well| well.is_ok_and(|well| well)));
        assert_eq!(fs::read_dir(folder.path())?.count(), 0);
        Ok(())
    }

    #[test]
    fn children_count_and_odd_names_do_not() -> Result<()> {
        let proc = tempfile::tempdir()?;
        for (process, parent, ns) in [(7, 1, 100), (8, 7, 20), (9, 8, 3)] {
            let folder = proc.path().join(process.to_string());
            fs::create_dir_all(folder.join("task/1"))?;
            fs::write(folder.join("task/1/schedstat"), format!("{ns} 5 6\n"))?;
            let stat = format!("{process} (a ) (b) S {parent} 1\n");
            fs::write(folder.join("stat"), stat)?;
        }
        assert_eq!(cpu_ns(proc.path(), 7), 120);
        assert_eq!(asked("ask-3-77"), Some((3, 77)));
        for name in ["ask-", "ask-3", "ask-x-1", "answer-3"] {
            assert_eq!(asked(name), None);
        }
        Ok(())
    }
}
