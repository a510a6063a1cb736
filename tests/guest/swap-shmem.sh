# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Files on tmpfs, swapped out: right when read, overwritten, cut and removed.
# guest: ram=64M disk=192M time=60 words=zcache
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh

make_swap /dev/ubda
mkdir /tmp/d
mount -t tmpfs -o size=120m tmpfs /tmp/d
real_bytes 80M | (cd /tmp/d && split -b 4M -a 2 - part.)
# A repeated byte and zeroes among them.
tr '\0' 'x' </dev/zero | head -c 8M >/tmp/d/same
head -c 4M /dev/zero >/tmp/d/zeroes
(cd /tmp/d && cksum ./*) >/tmp/sums
same() {
	(cd /tmp/d && cksum ./*) | cmp - /tmp/sums || fail "$1: content differs"
	echo "ok: $1: content is right"
}
same 'read back'
same 'read back again'
holds 'pages were stored' "$(counter pers_puts)" -gt 2000
holds 'pages were served' "$(counter pers_hits)" -gt 1000

# Zeroes over data, data over zeroes, in place.
for file in /tmp/d/part.aa /tmp/d/same; do
	dd if=/dev/zero of="$file" bs=64k count=40 conv=notrunc status=none
done
tr '\0' 'y' </dev/zero | dd of=/tmp/d/zeroes bs=64k count=30 \
	iflag=fullblock conv=notrunc status=none
(cd /tmp/d && cksum ./*) >/tmp/sums
real_bytes 24M >/tmp/d/filler
rm /tmp/d/filler
same 'overwritten'

# Cut in the middle of what lies in swap, and grown again.
truncate -s 1000000 /tmp/d/part.ab
truncate -s 4194304 /tmp/d/part.ab
tail -c +1000001 /tmp/d/part.ab | tr -d '\0' >/tmp/rest
holds 'the regrown tail is zeroes' "$(wc -c </tmp/rest)" -eq 0

rm /tmp/d/*
no_swapped_page 'after rm'
holds 'none was lost' "$(counter failed_pers_gets)" -eq 0
umount /tmp/d
swapoff /dev/ubda
