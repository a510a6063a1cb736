// SPDX-License-Identifier: GPL-2.0

//! Compresses files page by page, here and with the kernel's C.
//!
//! `pages [-n ROUNDS] FILE...` prints ratio and time; the best of ROUNDS (default 5) counts.
//! With `-n 1` under `valgrind --tool=callgrind` every codec runs once over all pages, and the
//! functions `run_*` tell the instructions of each: `callgrind_annotate --inclusive=yes`.

use lzo_peers::kernel;
use lzo_rs::Workspace;
use std::{
    env,
    fs,
    hint::black_box,
    process::ExitCode,
    time::Instant, //
};

const PAGE: usize = 4096;
const ROOM: usize = lzo_rs::worst_case(PAGE);

type Pages = Vec<[u8; PAGE]>;

#[inline(never)]
fn run_ours_compress(pages: &[[u8; PAGE]], out: &mut [u8; ROOM], ws: &mut Workspace) -> usize {
    let mut sum = 0;
    for page in pages {
        sum += lzo_rs::compress(black_box(page), out, ws).expect("room for the worst case");
    }
    sum
}

#[inline(never)]
fn run_kernel_compress(
    pages: &[[u8; PAGE]],
    out: &mut [u8; ROOM],
    work: &mut [u64; kernel::WORK / 8],
) -> usize {
    let mut sum = 0;
    for page in pages {
        sum += kernel::compress(black_box(page), out, work).expect("room for the worst case");
    }
    sum
}

#[inline(never)]
fn run_kernel_compress_safe(
    pages: &[[u8; PAGE]],
    out: &mut [u8; ROOM],
    work: &mut [u64; kernel::WORK / 8],
) -> usize {
    let mut sum = 0;
    for page in pages {
        sum += kernel::compress_safe(black_box(page), out, work).expect("room for the worst case");
    }
    sum
}

#[inline(never)]
fn run_ours_decompress(packed: &[Vec<u8>], out: &mut [u8; PAGE]) -> usize {
    let mut sum = 0;
    for page in packed {
        sum += lzo_rs::decompress(black_box(&page[..]), out).expect("a valid stream");
    }
    sum
}

#[inline(never)]
fn run_kernel_decompress(packed: &[Vec<u8>], out: &mut [u8; PAGE]) -> usize {
    let mut sum = 0;
    for page in packed {
        sum += kernel::decompress(black_box(&page[..]), out).expect("a valid stream");
    }
    sum
}

#[inline(never)]
fn run_ours_equals(packed: &[Vec<u8>], pages: &[[u8; PAGE]]) -> usize {
    let mut sum = 0;
    for (stream, page) in packed.iter().zip(pages) {
        assert!(lzo_rs::equals(black_box(&stream[..]), page));
        sum += PAGE;
    }
    sum
}

/// The same without [`lzo_rs::equals`].
#[inline(never)]
fn run_ours_decompress_and_compare(
    packed: &[Vec<u8>],
    pages: &[[u8; PAGE]],
    out: &mut [u8; PAGE],
) -> usize {
    let mut sum = 0;
    for (stream, page) in packed.iter().zip(pages) {
        sum += lzo_rs::decompress(black_box(&stream[..]), out).expect("a valid stream");
        assert!(black_box(&*out) == page);
    }
    sum
}

/// One codec in one direction.
struct Runner<'a> {
    name: &'a str,
    /// Runs over all pages; returns how many bytes it made of them.
    body: Box<dyn FnMut() -> usize + 'a>,
    /// Seconds that the fastest round took.
    best: f64,
    bytes: usize,
}

fn runner<'a>(name: &'a str, body: impl FnMut() -> usize + 'a) -> Runner<'a> {
    Runner {
        name,
        body: Box::new(body),
        best: f64::INFINITY,
        bytes: 0,
    }
}

/// Takes `-n ROUNDS` and file names; returns the rounds and the whole pages of all files.
fn arguments() -> (u32, Pages) {
    let mut rounds = 5;
    let mut pages = Pages::new();
    let mut args = env::args().skip(1);
    while let Some(arg) = args.next() {
        if arg == "-n" {
            rounds = args.next().and_then(|n| n.parse().ok()).unwrap_or(rounds);
            continue;
        }
        match fs::read(&arg) {
            Ok(data) => pages.extend(
                data.chunks_exact(PAGE)
                    .map(|page| <[u8; PAGE]>::try_from(page).expect("a chunk of that length")),
            ),
            Err(error) => eprintln!("{arg}: {error}"),
        }
    }
    (rounds, pages)
}

fn main() -> ExitCode {
    let (rounds, pages) = arguments();
    if pages.is_empty() {
        eprintln!("usage: pages [-n ROUNDS] FILE... (of 4096 bytes or more)");
        return ExitCode::FAILURE;
    }

    let mut ws = Workspace::new();
    let mut out = [0; ROOM];
    let packed: Vec<_> = pages
        .iter()
        .map(|page| {
            let len = lzo_rs::compress(page, &mut out, &mut ws).expect("room for the worst case");
            out[..len].to_vec()
        })
        .collect();

    let mut runners = vec![
        runner("compress: ours", || {
            run_ours_compress(&pages, &mut out, &mut ws)
        }),
        runner("decompress: ours", || {
            run_ours_decompress(&packed, &mut [0; PAGE])
        }),
        runner("decompress, compare", || {
            run_ours_decompress_and_compare(&packed, &pages, &mut [0; PAGE])
        }),
        runner("equals: ours", || run_ours_equals(&packed, &pages)),
    ];
    if kernel::PRESENT {
        let (mut out, mut work) = ([0; ROOM], [0; kernel::WORK / 8]);
        let (mut safe_out, mut safe_work) = (out, work);
        let (pages, packed) = (&pages, &packed);
        runners.push(runner("compress: kernel", move || {
            run_kernel_compress(pages, &mut out, &mut work)
        }));
        runners.push(runner("compress: kernel, safe", move || {
            run_kernel_compress_safe(pages, &mut safe_out, &mut safe_work)
        }));
        runners.push(runner("decompress: kernel", || {
            run_kernel_decompress(packed, &mut [0; PAGE])
        }));
    }
    // In turns, so that a busy moment of the machine does not hit one alone.
    for _ in 0..rounds {
        for runner in &mut runners {
            let start = Instant::now();
            runner.bytes = (runner.body)();
            runner.best = runner.best.min(start.elapsed().as_secs_f64());
        }
    }

    let all = pages.len() * PAGE;
    println!(
        "{} pages of {PAGE} bytes, best of {rounds} rounds",
        pages.len()
    );
    for runner in runners {
        print!(
            "{:<24}{:>8.0} ns/page",
            runner.name,
            runner.best * 1e9 / pages.len() as f64
        );
        if runner.bytes == all {
            println!();
        } else {
            println!("{:>9.4} : 1", all as f64 / runner.bytes as f64);
        }
    }
    ExitCode::SUCCESS
}
