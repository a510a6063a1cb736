# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# nocleancache keeps a file system out of zcache, on each kind that takes part;
# /proc/mounts shows it; a remount sets it and takes it back.
# guest: ram=96M disk=400M words=zcache,nofrontswap,zcache.admission=all
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh
# shellcheck source=tests/coherency/guest/lib.sh
. /run/src/tests/coherency/guest/lib.sh

mkdir /tmp/tree
real_bytes 8M | (cd /tmp/tree && split -b 1M -a 2 - part.)
(cd /tmp/tree && cksum part.*) >/tmp/sums

# passes WHAT: reads all that was put there twice, from the disk or zcache. PUTS
# and HITS are what came of it.
passes() {
	PUTS=$(counter eph_puts) HITS=$(counter eph_hits)
	for _ in 1 2; do
		(cd /run/mnt && cksum part.*) | cmp - /tmp/sums ||
			fail "$1: content differs"
		"$PROGRAM" evict /run/mnt/part.*
	done
	PUTS=$(($(counter eph_puts) - PUTS)) HITS=$(($(counter eph_hits) - HITS))
	echo "$1: $PUTS puts, $HITS hits"
}

# shown yes|no: /proc/mounts has the option.
shown() {
	has=no
	! awk '$2 == "/run/mnt" { print $4 }' /proc/mounts | tr , '\n' |
		grep -qx nocleancache || has=yes
	holds 'shown' "$has" = "$1"
}

# option TYPE: of what is on the disk.
option() {
	mount -t "$1" -o noatime,nocleancache /dev/ubda /run/mnt
	shown yes
	passes "$1 with nocleancache"
	holds "$1: no page was stored" "$PUTS" -eq 0
	holds "$1: no pool" "$(file_pools)" -eq 0

	mount -o remount,cleancache /run/mnt
	shown no
	passes "$1 after remount with cleancache"
	holds "$1: pages were stored" "$PUTS" -gt 2000
	holds "$1: pages were served" "$HITS" -gt 1000

	mount -o remount,nocleancache /run/mnt
	shown yes
	passes "$1 after remount with nocleancache"
	holds "$1: none more was stored" "$PUTS" -eq 0
	holds "$1: what was there was served" "$HITS" -gt 1000
	holds "$1: and is gone" "$(counter stored_pages)" -eq 0
	mount -o remount,ro /run/mnt
	shown yes
	remove "$1"

	mount -t "$1" -o noatime /dev/ubda /run/mnt
	shown no
	passes "$1 without it"
	holds "$1: pages are stored again" "$PUTS" -gt 2000
	remove "$1"
}

for type in ext4 ext2 xfs; do
	make "$type"
	cp /tmp/tree/part.* /run/mnt
	umount /run/mnt
	option "$type"
done
# image COMMAND...: makes one of the tree on the disk.
image() {
	dd if=/dev/zero of=/dev/ubda bs=1M count=1 status=none
	"$@" >/tmp/said 2>&1 || {
		cat /tmp/said
		fail "$*"
	}
}
image mkfs.erofs --quiet /dev/ubda /tmp/tree
option erofs
image mksquashfs /tmp/tree /dev/ubda -noappend -no-progress -noD
option squashfs
image xorrisofs -quiet -R -o /dev/ubda /tmp/tree
option iso9660
