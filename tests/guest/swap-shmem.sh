# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Files on tmpfs, swapped out: right when read, overwritten, cut and removed.
# guest: ram=64M disk=192M words=zcache
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh

make_swap /dev/ubda
mkdir /tmp/d
mount -t tmpfs -o size=120m tmpfs /tmp/d

# A slot that is held is read alone: no readahead, whatever the window says.
make_cgroup alone max
in_cgroup sh -c 'seq 1000000 >/tmp/d/numbers'
sum=$(cksum </tmp/d/numbers)
echo '16M swappiness=max' >"$CGROUP/memory.reclaim" || :
hits=$(counter pers_hits)
ahead=$(awk '/^swap_ra / { print $2 }' /proc/vmstat)
holds 'numbers read back' "$(cksum </tmp/d/numbers)" = "$sum"
holds 'they came from here' "$(counter pers_hits)" -gt $((hits + 1000))
holds 'nothing was read ahead' \
	"$(awk '/^swap_ra / { print $2 }' /proc/vmstat)" -eq "$ahead"
rm /tmp/d/numbers

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
held_only_in_use 'after rm'
holds 'none was lost' "$(counter failed_pers_gets)" -eq 0
umount /tmp/d
swapoff /dev/ubda
no_swapped_page 'after swapoff'
