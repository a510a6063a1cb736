# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Memory so short that puts fail: those pages go to the disk, next to slots
# that are held, and all come back right. Nothing is killed.
# guest: ram=48M disk=256M words=zcache
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh

make_swap /dev/ubda
for seed in 10 11; do
	/run/bin/zcache-tools swapper --mib 100 --seconds 3 --seed $seed
	held_only_in_use "after seed $seed"
done
holds 'puts failed' "$(counter failed_pers_puts)" -gt 1000
holds 'others did not' "$(counter pers_puts)" -gt 1000
holds 'pages came from the disk' \
	"$(awk '/^pswpin/ { print $2 }' /proc/vmstat)" -gt 1000
holds 'none was lost' "$(counter failed_pers_gets)" -eq 0
swapoff /dev/ubda
no_swapped_page 'after swapoff'
