// SPDX-License-Identifier: GPL-2.0

//! Compiled as the kernel compiles it, the library has no way to panic.

use std::{
    env,
    fs,
    path::Path,
    process::Command, //
};

/// What the symbols of all functions that panic have in their names, whichever compiler it is.
const PANICS: [&str; 2] = ["panicking", "_fail"];

/// Which of `names` the object file that `rustc` makes of `source` mentions in its symbols.
fn mentions<'a>(source: &Path, names: &[&'a str]) -> Vec<&'a str> {
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
    let has = |name: &&&str| {
        bytes
            .windows(name.len())
            .any(|window| window == name.as_bytes())
    };
    names.iter().filter(has).copied().collect()
}

#[test]
fn nothing_in_the_object_file_can_panic() {
    // That the test would see it: functions that can.
    let bad = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bad.rs");
    for (body, name) in [
        ("&a[i..i + 1]", "panicking"),
        ("&a[..i]", "_fail"),
        (
            "{ let (b, c) = a.split_at(9); let mut d = [0; 9]; d[..i & 7].copy_from_slice(c); b }",
            "_fail",
        ),
    ] {
        let source =
            format!("#[inline(never)] pub fn bad(a: &[u8], i: usize) -> &[u8] {{ {body} }}");
        fs::write(&bad, source).unwrap();
        assert_eq!(mentions(&bad, &[name]), [name], "{body}");
    }

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    for name in ["compress", "decompress", "equals"] {
        assert_eq!(mentions(&root, &[name]), [name]);
    }
    assert!(
        mentions(&root, &PANICS).is_empty(),
        "{:?}",
        mentions(&root, &PANICS)
    );
}
