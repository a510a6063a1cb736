# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# memory.zswap.max=0 keeps a cgroup's pages out of the swap half, also when an
# ancestor says so. Other limits of zswap's memory do not bind.
# guest: ram=96M disk=128M words=zcache
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh

make_swap /dev/ubda
# swaps WHAT: runs in CGROUP; PUTS are stored pages, OUT those on the device.
swaps() {
	PUTS=$(counter pers_puts) OUT=$(awk '/^pswpout/ { print $2 }' /proc/vmstat)
	in_cgroup /run/bin/zcache-tools swapper --mib 40 --seconds 2 --seed 9 ||
		fail "$1: a page was wrong"
	PUTS=$(($(counter pers_puts) - PUTS))
	OUT=$(($(awk '/^pswpout/ { print $2 }' /proc/vmstat) - OUT))
	echo "$1: $PUTS stored, $OUT to the device"
}

make_cgroup opts-out 20M
echo 0 >"$CGROUP/memory.zswap.max"
swaps 'zswap.max is 0'
# Pages of programs outside of the group may be swapped, too.
holds 'hardly any page was stored' "$PUTS" -lt 200
holds 'they went to the device' "$OUT" -gt 1000

echo max >"$CGROUP/memory.zswap.max"
swaps 'zswap.max is max'
holds 'pages were stored' "$PUTS" -gt 1000

# zswap's memory, of which there is none: a limit of it does not bind.
echo 1M >"$CGROUP/memory.zswap.max"
swaps 'zswap.max is 1 MiB'
holds 'pages were stored' "$PUTS" -gt 1000

echo +memory >"$CGROUP/cgroup.subtree_control"
echo 0 >"$CGROUP/memory.zswap.max"
make_cgroup opts-out/child 20M
swaps 'zswap.max of the parent is 0'
holds 'hardly any page was stored' "$PUTS" -lt 200

holds 'none was lost' "$(counter failed_pers_gets)" -eq 0
swapoff /dev/ubda
no_swapped_page 'after swapoff'
