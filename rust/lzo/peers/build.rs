// SPDX-License-Identifier: GPL-2.0

//! Builds the C codecs that are there: the kernel's from `LZO_KERNEL_SRC`, and liblzo2.
//!
//! A missing one is no error here; the tests that need it say that they are skipped.

use std::{
    env,
    error::Error,
    fs,
    path::Path, //
};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=c");
    println!("cargo:rerun-if-env-changed=LZO_KERNEL_SRC");
    println!("cargo:rustc-check-cfg=cfg(peer_kernel, peer_lzo2)");

    match env::var_os("LZO_KERNEL_SRC") {
        Some(tree) => {
            kernel(Path::new(&tree))?;
            println!("cargo:rustc-cfg=peer_kernel");
        }
        None => println!("cargo:warning=LZO_KERNEL_SRC is not set: no kernel codec"),
    }

    let lzo2 = cc::Build::new()
        .file("c/lzo2.c")
        .cargo_warnings(false)
        .try_compile("peer_lzo2");
    match lzo2 {
        Ok(()) => {
            println!("cargo:rustc-link-lib=lzo2");
            println!("cargo:rustc-cfg=peer_lzo2");
        }
        Err(_) => println!("cargo:warning=lzo/lzo1x.h does not compile: no liblzo2"),
    }
    Ok(())
}

/// Builds `lib/lzo` of the kernel tree `tree` for user space.
fn kernel(tree: &Path) -> Result<(), Box<dyn Error>> {
    // Of the kernel's own headers only this one; the rest is in c/linux.
    let include = Path::new(&env::var("OUT_DIR")?).join("include");
    fs::create_dir_all(include.join("linux"))?;
    let header = tree.join("include/linux/lzo.h");
    println!("cargo:rerun-if-changed={}", header.display());
    fs::copy(&header, include.join("linux/lzo.h"))?;

    let mut build = cc::Build::new();
    for name in [
        "lzo1x_compress",
        "lzo1x_compress_safe",
        "lzo1x_decompress_safe",
    ] {
        let file = tree.join("lib/lzo").join(name).with_extension("c");
        println!("cargo:rerun-if-changed={}", file.display());
        build.file(file);
    }
    match env::var("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "x86_64" => {
            build.define("CONFIG_X86_64", "1");
            build.define("CONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS", "1");
        }
        "aarch64" => {
            build.define("CONFIG_ARM64", "1");
            build.define("CONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS", "1");
        }
        _ => (),
    }
    build
        .include("c")
        .include(include)
        .opt_level(2)
        // As the kernel is built. Without it the compiler may reorder the loads and stores of
        // COPY8, and the output is silently wrong.
        .flag("-fno-strict-aliasing")
        .warnings(false)
        .try_compile("peer_kernel")?;
    Ok(())
}
