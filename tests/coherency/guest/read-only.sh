# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# erofs, squashfs and isofs, with and without compression: what is read again
# and again, under pressure, is what was put into the image.
# guest: ram=96M disk=256M words=zcache,nofrontswap,zcache.admission=all
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh
# shellcheck source=tests/coherency/guest/lib.sh
. /run/src/tests/coherency/guest/lib.sh

mkdir /tmp/tree
real_bytes 16M | (cd /tmp/tree && split -b 1M -a 2 - part.)
(cd /tmp/tree && cksum ./*) >/tmp/sums

# image TYPE WORDS... -- COMMAND...: makes an image on the disk and reads it.
image() {
	type=$1
	shift
	dd if=/dev/zero of=/dev/ubda bs=1M count=1 status=none
	"$@" >/tmp/said 2>&1 || {
		cat /tmp/said
		fail "$*"
	}
	mount -r -t "$type" /dev/ubda /run/mnt
	hits=$(counter eph_hits)
	for pass in 1 2 3 4; do
		(cd /run/mnt && cksum part.*) | sed 's, part, ./part,' |
			cmp - /tmp/sums || fail "$type, pass $pass: content differs"
		"$PROGRAM" evict /run/mnt/part.*
	done
	holds "$1: pages were served" $(($(counter eph_hits) - hits)) -gt 2000
	pages=$((4 * 4096))
	add pages "$pages"
	add served $(($(counter eph_hits) - hits))
	umount /run/mnt
	nothing_held "after umount of $type"
}

image erofs mkfs.erofs --quiet /dev/ubda /tmp/tree
image erofs mkfs.erofs --quiet -zlz4 /dev/ubda /tmp/tree
image squashfs mksquashfs /tmp/tree /dev/ubda -noappend -no-progress -comp gzip
image squashfs mksquashfs /tmp/tree /dev/ubda -noappend -no-progress -noD
image iso9660 xorrisofs -quiet -R -o /dev/ubda /tmp/tree
