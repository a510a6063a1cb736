# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# The exerciser of tests/coherency on the kernel without checks: no read may see
# a byte that is not the last one written.
# guest: ram=72M disk=192M words=zcache
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh

make_fs
mount -t cgroup2 none /sys/fs/cgroup
for seed in 1 2; do
	/run/bin/zcache-coherency run --root /run/mnt --pages 80000 \
		--seconds 40 --seed "$seed" --squeeze-mib 24
done
holds 'pages were stored' "$(counter eph_puts)" -gt 2000
holds 'pages were served' "$(counter eph_hits)" -gt 200
holds 'pages were flushed' "$(counter flush_found)" -gt 0
holds 'none was corrupt' "$(counter corrupt_pages)" -eq 0
umount /run/mnt
nothing_held 'after umount'
