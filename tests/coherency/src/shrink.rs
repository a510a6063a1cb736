// SPDX-License-Identifier: GPL-2.0

//! Finds a short history that still fails.

use crate::op::Step;

/// The steps that a failure of `file` can depend on: those on it, and on the
/// files that its blocks came from.
pub fn related(steps: &[Step], file: usize) -> Vec<Step> {
    let mut files = vec![file];
    let mut kept = Vec::new();
    for step in steps.iter().rev() {
        let touched = [Some(step.file), step.op.other()];
        if touched.iter().flatten().any(|file| files.contains(file)) {
            for file in touched.into_iter().flatten() {
                if !files.contains(&file) {
                    files.push(file);
                }
            }
            kept.push(*step);
        }
    }
    kept.reverse();
    kept
}

/// Leaves out what can be left out while `fails` still says so, by parts that
/// get smaller (delta debugging). `more` says whether there is time.
pub fn shorten(
    mut steps: Vec<Step>,
    mut fails: impl FnMut(&[Step]) -> bool,
    mut more: impl FnMut() -> bool,
) -> Vec<Step> {
    let mut part = steps.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        let mut changed = false;
        while at < steps.len() {
            if !more() {
                return steps;
            }
            let end = (at + part).min(steps.len());
            let mut shorter = steps.clone();
            shorter.drain(at..end);
            if fails(&shorter) {
                steps = shorter;
                changed = true;
            } else {
                at = end;
            }
        }
        if part > 1 {
            part = part.div_ceil(2);
        } else if !changed {
            return steps;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Op;

    fn steps(n: usize) -> Vec<Step> {
        let step = |n| Step {
            file: n % 4,
            op: Op::Truncate { blocks: n },
        };
        (0..n).map(step).collect()
    }

    #[test]
    fn what_is_needed_stays() {
        let all = steps(100);
        let needed = [all[7], all[50], all[93]];
        let fails = |some: &[Step]| needed.iter().all(|step| some.contains(step));
        assert_eq!(shorten(all.clone(), fails, || true), needed);
        // Without time, the history is long but still fails.
        let mut turns = 3;
        let short = shorten(all, fails, || {
            turns -= 1;
            turns > 0
        });
        assert!(fails(&short) && short.len() > 3);
    }

    #[test]
    fn files_that_blocks_came_from_are_related() {
        let copy = Op::Copy {
            source: 2,
            from: 0,
            count: 1,
            to: 0,
        };
        let mut all = steps(8);
        all.push(Step { file: 1, op: copy });
        let kept = related(&all, 1);
        let files: Vec<usize> = kept.iter().map(|step| step.file).collect();
        assert_eq!(files, [1, 2, 1, 2, 1]);
    }
}
