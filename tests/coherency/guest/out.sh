# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# What does not take part stays out: tmpfs, hostfs, an overlay's own names, the
# block device, files that are swap, deleted files. Each is read and reclaimed.
# guest: ram=96M disk=256M words=zcache,nofrontswap,zcache.admission=all
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh
# shellcheck source=tests/coherency/guest/lib.sh
. /run/src/tests/coherency/guest/lib.sh

make ext4
mkdir /run/mnt/lower /run/mnt/upper /run/mnt/work /tmp/over
real_bytes 4M >/run/mnt/lower/file
sync
# The device below a mounted file system, the host's files.
cp /run/mnt/lower/file /tmp/file
"$PROGRAM" out /dev/ubda /usr/bin/perl || fail 'something went in'

# An overlay has no pages of its own: what goes in is the layer's, once.
mount -t overlay -o lowerdir=/run/mnt/lower,upperdir=/run/mnt/upper,workdir=/run/mnt/work \
	overlay /tmp/over
cmp /tmp/over/file /tmp/file
if "$PROGRAM" out /tmp/over/file >/dev/null; then
	fail 'the layer below an overlay did not take part'
fi
holds 'one pool, of the layer' "$(file_pools)" -eq 1
tr '\0' U </dev/zero | dd of=/tmp/over/file bs=4k seek=3 count=2 \
	conv=notrunc iflag=fullblock status=none
sync
"$PROGRAM" evict /tmp/over/file
head -c 20480 /tmp/over/file | tail -c 8192 | tr -d U | wc -c >/tmp/left
holds 'what was written through an overlay is read' "$(cat /tmp/left)" -eq 0
cmp /run/mnt/lower/file /tmp/file || fail 'the lower file changed'
umount /tmp/over

# Files of the file system that must stay out.
cat /tmp/file /tmp/file /tmp/file /tmp/file >/run/mnt/swap
mkswap /run/mnt/swap >/dev/null 2>&1
chmod 600 /run/mnt/swap
swapon /run/mnt/swap
"$PROGRAM" out /run/mnt/swap || fail 'a swap file went in'
# tmpfs is reclaimed only with swap.
"$PROGRAM" out /tmp/file || fail 'tmpfs went in'
cmp /tmp/file /run/mnt/lower/file
swapoff /run/mnt/swap
exec 3</run/mnt/lower/file
rm /run/mnt/lower/file
"$PROGRAM" out /proc/self/fd/3 || fail 'a deleted file went in'
exec 3<&-
remove ext4
