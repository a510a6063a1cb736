# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# The boot word of Xen's tmem is understood, and nothing is shared.
# guest: ram=96M disk=160M words=zcache,no-tmem_dedup
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh
mode=/sys/module/zcache/parameters/dedup

holds 'the word is understood' "$(cat $mode)" = off
make_fs
real_bytes 50M >/run/mnt/a
cp /run/mnt/a /run/mnt/b
sync
cmp /run/mnt/a /run/mnt/b
cmp /run/mnt/a /run/mnt/b
holds 'pages were stored' "$(counter eph_puts)" -gt 1000
holds 'none is shared' "$(counter pcd_count)" -eq 0
umount /run/mnt
nothing_held 'after umount'
