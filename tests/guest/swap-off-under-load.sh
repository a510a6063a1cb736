# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# swapoff and swapon, over and over, while processes use the area and pages are
# forced out to it. What was on it is right, and nothing of it is left.
# guest: ram=96M disk=128M words=zcache
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh

make_swap /dev/ubda
make_cgroup load max
in_cgroup /run/bin/zcache-tools swapper --mib 32 --seconds 5 --seed 3 \
	--children 2 --reclaim "$CGROUP/memory.reclaim" &
load=$!
times=0
while kill -0 $load 2>/dev/null; do
	sleep 0.5
	swapoff /dev/ubda || continue
	no_swapped_page "after swapoff $times"
	times=$((times + 1))
	swapon /dev/ubda
done
wait $load || fail 'the load found a wrong page'
holds 'swapoff came through' $times -ge 3
holds 'pages were stored' "$(counter pers_puts)" -gt 2000
holds 'none was lost' "$(counter failed_pers_gets)" -eq 0
swapoff /dev/ubda
no_swapped_page 'at the end'
