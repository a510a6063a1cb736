# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# fsx, whose file is reclaimed all the time. An hour of it:
# tests/coherency/long.
# guest: ram=96M disk=400M time=120 words=zcache,nofrontswap,zcache.admission=all
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh
# shellcheck source=tests/coherency/guest/lib.sh
. /run/src/tests/coherency/guest/lib.sh

seed=1
for kind in ext4 ext4-1k xfs ext2; do
	make $kind
	hits=$(counter eph_hits)
	fsx_round "$kind" $seed 20000
	holds "fsx on $kind: pages were served" \
		$(($(counter eph_hits) - hits)) -gt 50
	remove $kind
	seed=$((seed + 1))
done
