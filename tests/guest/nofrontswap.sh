# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# With nofrontswap swapped pages go to the disk as ever.
# guest: ram=64M disk=128M words=zcache,nofrontswap
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh

grep -q 'frontswap: off: boot word' "$Z/status" ||
	fail "status: $(cat "$Z/status")"
make_swap /dev/ubda
/run/bin/zcache-tools swapper --mib 64 --seconds 2
holds 'no page was stored' "$(counter pers_puts)" -eq 0
holds 'pages were swapped' "$(awk '/^pswpin/ { print $2 }' /proc/vmstat)" -gt 0
swapoff /dev/ubda
