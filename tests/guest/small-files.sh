# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Pages must outlive the inode cache's wish to shrink: of 5000 small files
# scanned under pressure, under 2 % of the pages die with their inode.
# guest: ram=72M disk=192M words=zcache
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh

make_fs
mkdir /run/mnt/d
real_bytes 80M | (cd /run/mnt/d && split -b 16k -a 4 - f.)
holds 'there are 5000 files' "$(find /run/mnt/d -type f | wc -l)" -ge 5000
(cd /run/mnt/d && find . -type f | sort | xargs cat | cksum) >/tmp/sum
sync
for pass in 1 2 3 4; do
	(cd /run/mnt/d && find . -type f | sort | xargs cat | cksum) |
		cmp - /tmp/sum || fail "pass $pass: content differs"
	echo "pass $pass: $(counter eph_puts) stored, $(counter eph_hits) served," \
		"$(counter inode_death_pages) dead with their inode"
done
puts=$(counter eph_puts)
holds 'pages were stored' "$puts" -gt 10000
holds 'under 2 % died with their inode' \
	$(($(counter inode_death_pages) * 50)) -lt "$puts"
umount /run/mnt
nothing_held 'after umount'
