# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# fsx, whose file is reclaimed all the time. An hour of it:
# tests/coherency/long.
# guest: ram=96M disk=400M time=120 words=zcache,nofrontswap,zcache.admission=all
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh
# shellcheck source=tests/coherency/guest/lib.sh
. /run/src/tests/coherency/guest/lib.sh

evict=
trap '[ -z "$evict" ] || kill "$evict"' EXIT
seed=1
for kind in ext4 ext4-1k xfs ext2; do
	make $kind
	fsx_settings "$kind"
	hits=$(counter eph_hits)
	: >/run/mnt/fsx
	"$PROGRAM" evict --every-ms 5 /run/mnt/fsx &
	evict=$!
	/run/bin/fsx -q -S $seed -N "${FSX_STEPS:-20000}" -P /tmp \
		-f /tmp/fsx.toml /run/mnt/fsx || fail "fsx on $kind, seed $seed"
	# fsx removes its file in the end, and that ends it as well.
	kill $evict 2>/dev/null || :
	wait $evict || :
	evict=
	holds "fsx on $kind: pages were served" \
		$(($(counter eph_hits) - hits)) -gt 50
	remove $kind
	seed=$((seed + 1))
done
