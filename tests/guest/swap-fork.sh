# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Forks and copies on write: pages that are swapped out and shared by several
# processes, each of which changes some and checks what it must see.
# guest: ram=64M disk=256M words=zcache
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh

make_swap /dev/ubda
for children in 1 6; do
	/run/bin/zcache-tools swapper --mib 50 --seconds 3 --seed "$children" \
		--children "$children"
	held_only_in_use "after $children children at a time"
done
holds 'pages were stored' "$(counter pers_puts)" -gt 2000
holds 'pages were served' "$(counter pers_hits)" -gt 1000
holds 'none was lost' "$(counter failed_pers_gets)" -eq 0
swapoff /dev/ubda
no_swapped_page 'after swapoff'
