# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# The whole way of a page: evicted, compressed, found, given back; then every
# way in which it must vanish: overwritten, truncated, punched, unlinked,
# unmounted. Contents are checked at each step.
# guest: ram=96M disk=256M words=zcache
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh

make_fs
mkdir /run/mnt/d
real_bytes 120M | (cd /run/mnt/d && split -b 4M -a 2 - part.)
sync
(cd /run/mnt/d && cksum ./*) >/tmp/sums
same() {
	(cd /run/mnt/d && cksum ./*) | cmp - /tmp/sums || fail "$1: content differs"
	echo "ok: $1: content is right"
}

same 'first pass'
same 'second pass'
same 'third pass'
holds 'pages were stored' "$(counter eph_puts)" -gt 5000
holds 'pages were served' "$(counter eph_hits)" -gt 1000
holds 'none was corrupt' "$(counter corrupt_pages)" -eq 0

# Overwrite in the middle of files of which most lies in the store.
squeeze 40
for file in /run/mnt/d/part.a[a-e]; do
	tr '\0' 'Q' </dev/zero | dd of="$file" bs=64k seek=7 count=9 \
		iflag=fullblock conv=notrunc status=none
done
(cd /run/mnt/d && cksum ./*) >/tmp/sums
sync
squeeze 40
same 'after overwriting'

# Cut, grow again: what was cut off must read as zeros.
file=/run/mnt/d/part.af
head -c 1000000 "$file" | cksum >/tmp/head
truncate -s 1000000 "$file"
truncate -s 4194304 "$file"
head -c 1000000 "$file" | cksum | cmp - /tmp/head || fail 'head of the cut file'
tail -c +1000001 "$file" | tr -d '\0' >/tmp/rest
holds 'the regrown tail is zeros' "$(wc -c </tmp/rest)" -eq 0

# Punch a hole in the middle.
file=/run/mnt/d/part.ag
fallocate --punch-hole --offset 1000000 --length 2000000 "$file"
tail -c +1000001 "$file" | head -c 2000000 | tr -d '\0' >/tmp/rest
holds 'the hole is zeros' "$(wc -c </tmp/rest)" -eq 0

# Write past the page cache.
file=/run/mnt/d/part.ah
squeeze 40
tr '\0' 'D' </dev/zero | dd of="$file" bs=64k count=64 iflag=fullblock \
	oflag=direct conv=notrunc status=none
tr -d 'D' <"$file" >/tmp/rest
holds 'what was written directly is read' "$(wc -c </tmp/rest)" -eq 0

# Unlink: the pages of a file go with it.
(cd /run/mnt/d && cksum ./*) >/tmp/sums
squeeze 40
same 'after all of that'
rm /run/mnt/d/*
sync
holds 'unlink leaves no page of a file' "$(counter stored_pages)" -le 64

# The same names and inode numbers again, with other content.
real_bytes 80M | tr abcdef bcdefa | (cd /run/mnt/d && split -b 4M -a 2 - part.)
(cd /run/mnt/d && cksum ./*) >/tmp/sums
sync
squeeze 40
same 'new files under old names'

# Unmount: nothing is left; another file system in the same place is new.
umount /run/mnt
nothing_held 'after umount'
mount -t ext4 -o noatime /dev/ubda /run/mnt
same 'mounted again'
umount /run/mnt
nothing_held 'after the second umount'
