# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Memory cgroups: a group at its limit swaps to zcache and sees right pages; a
# group without swap does not.
# guest: ram=128M disk=128M words=zcache
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh

make_swap /dev/ubda
make_cgroup no-swap 40M
echo 0 >"$CGROUP/memory.swap.max"
in_cgroup /run/bin/zcache-tools swapper --mib 24 --seconds 1 --seed 5 \
	--reclaim "$CGROUP/memory.reclaim"
holds 'no page without leave to swap' "$(counter pers_puts)" -eq 0

make_cgroup limited 20M
in_cgroup /run/bin/zcache-tools swapper --mib 40 --seconds 3 --seed 6 \
	--children 1
holds 'pages were stored' "$(counter pers_puts)" -gt 2000
holds 'pages were served' "$(counter pers_hits)" -gt 1000
holds 'the group has swapped nothing any more' \
	"$(cat "$CGROUP/memory.swap.current")" -eq 0
held_only_in_use 'after the process'
holds 'none was lost' "$(counter failed_pers_gets)" -eq 0
swapoff /dev/ubda
no_swapped_page 'after swapoff'
