# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# zcache.limit_percent is a cap: the store comes near it and not above it.
# guest: ram=96M disk=160M words=zcache,zcache.limit_percent=20
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh

pages=$(($(awk '/^MemTotal/ { print $2 }' /proc/meminfo) / 4))
holds 'the limit is 20 % of RAM' "$(counter limit_frames)" -le $((pages * 20 / 100))
make_fs
real_bytes 130M >/run/mnt/file
sync
for pass in 1 2 3; do
	cat /run/mnt/file >/dev/null
	holds "pass $pass: frames within the limit" \
		"$(counter frames)" -le "$(counter limit_frames)"
done
holds 'the limit is used' "$(counter frames)" -gt $(($(counter limit_frames) / 2))
umount /run/mnt
nothing_held 'after umount'
