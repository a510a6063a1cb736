# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Two copies of the same files share memory; contents are checked in every mode;
# the mode changes at run time, and odd words change nothing.
# guest: ram=96M disk=160M words=zcache
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh
mode=/sys/module/zcache/parameters/dedup

holds 'the default is one filesystem' "$(cat $mode)" = pool
holds 'the ratio of nothing' "$(counter dedup_ratio)" = 0.00
make_fs
mkdir /run/mnt/a
real_bytes 60M | (cd /run/mnt/a && split -b 2M -a 2 - part.)
cp -a /run/mnt/a /run/mnt/b
sync
(cd /run/mnt && cksum a/* b/*) >/tmp/sums
same() {
	(cd /run/mnt && cksum a/* b/*) | cmp - /tmp/sums || fail "$1: content differs"
	echo "ok: $1: content is right"
}

same 'first pass'
same 'second pass'
found=$(counter dedup_puts)
holds 'pages were found' "$found" -gt 2000
pages=$(counter dedup_pages)
contents=$(counter pcd_count)
holds 'they are shared' $((pages * 10)) -gt $((contents * 12))
holds 'none was corrupt' "$(counter corrupt_pages)" -eq 0

for word in '' Pool 'pool all' 2 on; do
	if echo "$word" 2>/dev/null >$mode; then
		fail "the word '$word' was taken"
	fi
done
holds 'odd words change nothing' "$(cat $mode)" = pool

# What is shared stays valid, and nothing new is.
echo off >$mode
holds 'it is off' "$(cat $mode)" = off
found=$(counter dedup_puts)
same 'switched off'
same 'still off'
holds 'nothing is found' "$(counter dedup_puts)" -eq "$found"
echo all >$mode
same 'switched on for all'
same 'still on'
holds 'pages are found again' "$(counter dedup_puts)" -gt "$found"

# The last page that leaves a copy frees it, in whatever order they leave.
rm /run/mnt/a/*[aeiou]
rm /run/mnt/b/*[a-m]
(cd /run/mnt && cksum a/* b/*) >/tmp/sums
same 'after some are gone'
umount /run/mnt
nothing_held 'after umount'
for name in pcd_count pgp_count dedup_pages; do
	holds "$name is zero" "$(counter $name)" -eq 0
done
holds 'the ratio is zero again' "$(counter dedup_ratio)" = 0.00
