# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# The whole way of a swapped page: out to zcache and not to the disk, in again,
# changed, out again; freed with its process; gone after swapoff. Pages of all
# kinds, every one checked each time.
# guest: ram=64M disk=192M words=zcache
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh

make_swap /dev/ubda
grep -q 'frontswap: on' "$Z/status" || fail "status: $(cat "$Z/status")"
for seed in 1 2; do
	/run/bin/zcache-tools swapper --mib 70 --seconds 2 --seed "$seed"
	held_only_in_use "after process $seed"
done
holds 'pages were stored' "$(counter pers_puts)" -gt 3000
holds 'pages were served' "$(counter pers_hits)" -gt 1000
holds 'every page looked for was there' \
	"$(counter pers_gets)" -eq "$(counter pers_hits)"
holds 'pages were freed without a look' "$(counter flush_found)" -gt 1000
holds 'none was lost' "$(counter failed_pers_gets)" -eq 0
sh /run/src/scripts/zcache-stats
swapoff /dev/ubda
no_swapped_page 'after swapoff'
