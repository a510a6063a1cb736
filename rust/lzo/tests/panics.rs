// SPDX-License-Identifier: GPL-2.0

//! Compiled as the kernel compiles it, the library has no way to panic.

use std::{
    env,
    fs,
    path::Path,
    process::Command, //
};

/// Whether the object file that `rustc` makes of `source` mentions `name` in a symbol.
fn mentions(source: &Path, name: &str) -> bool {
    let object = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(source.file_name().unwrap())
        .with_extension("o");
    let status = Command::new(env::var_os("RUSTC").unwrap_or("rustc".into()))
        .args(["--edition=2021", "--crate-type=lib", "--emit=obj"])
        .args(["-Copt-level=2", "-Ccodegen-units=1", "-Cpanic=abort"])
        .args(["-Coverflow-checks=y", "-Cdebuginfo=0"])
        .arg("-o")
        .args([&object, source])
        .status();
    assert!(status.is_ok_and(|status| status.success()), "rustc failed");
    let bytes = fs::read(object).unwrap();
    bytes
        .windows(name.len())
        .any(|window| window == name.as_bytes())
}

#[test]
fn nothing_in_the_object_file_can_panic() {
    // That the test would see it: a function that can.
    let bad = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bad.rs");
    fs::write(
        &bad,
        "#[inline(never)] pub fn bad(a: &[u8], i: usize) -> u8 { a[i] }",
    )
    .unwrap();
    assert!(mentions(&bad, "panicking"));

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    assert!(mentions(&root, "decompress"));
    assert!(!mentions(&root, "panicking"));
}
