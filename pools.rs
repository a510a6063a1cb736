// SPDX-License-Identifier: GPL-2.0

//! `/sys/kernel/debug/zcache/pools`: a line for each pool, for root to read.

use kernel::{
    debugfs::{
        Dir,
        File, //
    },
    fmt,
    prelude::*, //
};

use crate::tmem::{
    Kind,
    PoolId,
    PoolView, //
};

/// The file; dropping it removes it.
pub(crate) type Table = File<()>;

/// Makes the file. May sleep; without debugfs there is none, which is no error.
pub(crate) fn show() -> Result<Pin<KBox<Table>>> {
    let folder = Dir::new(c"zcache");
    KBox::pin_init(
        folder.read_callback_file(c"pools", (), &|(), out| write_table(out)),
        GFP_KERNEL,
    )
}

fn write_table(out: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(out, "pool kind filesystem device pages puts gets hits")?;
    let mut last = PoolId(0);
    // Each is looked up by itself, so that no lock is held while it is written.
    while let Some(pool) = crate::get().and_then(|system| system.tmem.pool_after(last)) {
        write_pool(out, &pool)?;
        last = pool.id;
    }
    Ok(())
}

fn write_pool(out: &mut impl fmt::Write, pool: &PoolView) -> fmt::Result {
    let kind = match pool.kind {
        Kind::Ephemeral => "ephemeral",
        Kind::Persistent => "persistent",
    };
    let PoolView {
        id: PoolId(id),
        label,
        pages,
        puts,
        gets,
        hits,
        ..
    } = pool;
    writeln!(out, "{id} {kind} {label} {pages} {puts} {gets} {hits}")
}

#[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
#[kernel::macros::kunit_tests(zcache_pools)]
mod tests {
    use super::*;
    use crate::{
        kobject::Output,
        tmem::Label, //
    };

    #[test]
    fn a_line_has_its_fields_whatever_the_name() -> Result {
        for (kind, words, expected) in [
            (
                Kind::Ephemeral,
                [&b"ext4"[..], b"dm-0"],
                "7 ephemeral ext4 dm-0 1 2 3 4\n",
            ),
            (
                Kind::Persistent,
                [b"swap", b"-"],
                "7 persistent swap - 1 2 3 4\n",
            ),
            (
                Kind::Ephemeral,
                [b"x\n\xff", b"a b"],
                "7 ephemeral x?? a?b 1 2 3 4\n",
            ),
            (
                Kind::Ephemeral,
                [b"12345678901234567890", &[b'y'; 99]],
                "7 ephemeral 12345678901234567890 yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy 1 2 3 4\n",
            ),
        ] {
            let pool = PoolView {
                id: PoolId(7),
                kind,
                label: Label::new(words[0], words[1]),
                pages: 1,
                puts: 2,
                gets: 3,
                hits: 4,
            };
            let mut buffer = [0; 128];
            let mut out = Output::new(&mut buffer);
            write_pool(&mut out, &pool).map_err(|_| EINVAL)?;
            let len = out.len();
            assert_eq!(buffer.get(..len), Some(expected.as_bytes()));
        }
        Ok(())
    }
}
