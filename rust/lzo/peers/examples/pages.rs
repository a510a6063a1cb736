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

/// One compressed page, as every codec here left it.
#[derive(Clone)]
struct Packed(Vec<u8>);

type Pages = Vec<[u8; PAGE]>;

#[inline(never)]
fn run_ours_compress(pages: &Pages, out: &mut [u8; ROOM], ws: &mut Workspace) -> usize {
    let mut sum = 0;
    for page in pages {
        sum += lzo_rs::compress(black_box(page), out, ws).expect("room for the worst case");
    }
    sum
}

#[inline(never)]
fn run_kernel_compress(pages: &Pages, out: &mut [u8; ROOM], work: &mut [u64; 2048]) -> usize {
    let mut sum = 0;
    for page in pages {
        sum += kernel::compress(black_box(page), out, work).expect("room for the worst case");
    }
    sum
}

#[inline(never)]
fn run_kernel_compress_safe(pages: &Pages, out: &mut [u8; ROOM], work: &mut [u64; 2048]) -> usize {
    let mut sum = 0;
    for page in pages {
        sum += kernel::compress_safe(black_box(page), out, work).expect("room for the worst case");
    }
    sum
}

#[inline(never)]
fn run_ours_decompress(packed: &[Packed], out: &mut [u8; PAGE]) -> usize {
    let mut sum = 0;
    for page in packed {
        sum += lzo_rs::decompress(black_box(&page.0), out).expect("a valid stream");
    }
    sum
}

#[inline(never)]
fn run_kernel_decompress(packed: &[Packed], out: &mut [u8; PAGE]) -> usize {
    let mut sum = 0;
    for page in packed {
        sum += kernel::decompress(black_box(&page.0), out).expect("a valid stream");
    }
    sum
}

/// Runs `body` over and over; prints the best time for a page and what it returned.
fn report(name: &str, rounds: u32, pages: usize, mut body: impl FnMut() -> usize) {
    let mut best = f64::INFINITY;
    let mut bytes = 0;
    for _ in 0..rounds {
        let start = Instant::now();
        bytes = body();
        best = best.min(start.elapsed().as_secs_f64());
    }
    println!(
        "{name:<26} {:>8.0} ns/page   {:>7.4} : 1",
        best * 1e9 / pages as f64,
        (pages * PAGE) as f64 / bytes as f64
    );
}

fn main() -> ExitCode {
    let mut rounds = 5;
    let mut pages = Pages::new();
    let mut args = env::args().skip(1);
    while let Some(arg) = args.next() {
        if arg == "-n" {
            rounds = args.next().and_then(|n| n.parse().ok()).unwrap_or(rounds);
            continue;
        }
        match fs::read(&arg) {
            Ok(data) => pages.extend(data.chunks_exact(PAGE).map(|page| {
                let mut copy = [0; PAGE];
                copy.copy_from_slice(page);
                copy
            })),
            Err(error) => eprintln!("{arg}: {error}"),
        }
    }
    if pages.is_empty() {
        eprintln!("usage: pages [-n ROUNDS] FILE... (of 4096 bytes or more)");
        return ExitCode::FAILURE;
    }

    let ws = &mut Workspace::new();
    let work = &mut [0; 2048];
    let out = &mut [0; ROOM];
    let page = &mut [0; PAGE];
    let packed: Vec<_> = pages
        .iter()
        .map(|page| {
            let len = lzo_rs::compress(page, out, ws).expect("room for the worst case");
            Packed(out[..len].to_vec())
        })
        .collect();
    let n = pages.len();

    println!("{n} pages of {PAGE} bytes");
    report("compress: ours", rounds, n, || {
        run_ours_compress(&pages, out, ws)
    });
    if kernel::PRESENT {
        report("compress: kernel", rounds, n, || {
            run_kernel_compress(&pages, out, work)
        });
        report("compress: kernel, safe", rounds, n, || {
            run_kernel_compress_safe(&pages, out, work)
        });
    }
    report("decompress: ours", rounds, n, || {
        run_ours_decompress(&packed, page)
    });
    if kernel::PRESENT {
        report("decompress: kernel", rounds, n, || {
            run_kernel_decompress(&packed, page)
        });
    }
    ExitCode::SUCCESS
}
