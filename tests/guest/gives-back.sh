# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Frames go back when something else needs the memory, and nothing is killed.
# guest: ram=96M disk=160M words=zcache
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh

make_fs
real_bytes 120M >/run/mnt/file
sync
cat /run/mnt/file >/dev/null
cat /run/mnt/file >/dev/null
before=$(counter frames)
holds 'the store has something to give' "$before" -gt 3000
mkdir /tmp/hog
mount -t tmpfs -o size=72m tmpfs /tmp/hog
head -c 64M /dev/urandom >/tmp/hog/fill || fail 'no memory for 64 MiB of 96'
holds 'frames were given back' "$(counter frames)" -lt $((before / 2))
umount /tmp/hog
cat /run/mnt/file >/dev/null
cmp /run/mnt/file /run/mnt/file
umount /run/mnt
nothing_held 'after umount'
