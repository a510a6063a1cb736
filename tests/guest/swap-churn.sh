# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Every page goes out and in again and again, in a small area: zero pages that
# become something else and turn to zero again, slots that are used anew.
# guest: ram=96M disk=128M words=zcache,zcache_timing
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh

# The area is hardly larger than the set, so that slots come round soon.
mkswap /dev/ubda 20480 >/dev/null
swapon /dev/ubda
make_cgroup churn max
for seed in 7 8; do
	in_cgroup /run/bin/zcache-tools swapper --mib 16 --seconds 3 \
		--seed "$seed" --reclaim "$CGROUP/memory.reclaim"
	held_only_in_use "after seed $seed"
done
holds 'each slot was used many times' "$(counter pers_puts)" -gt 10000
holds 'none was lost' "$(counter failed_pers_gets)" -eq 0
timed pers_put
timed pers_get
swapoff /dev/ubda
no_swapped_page 'after swapoff'
