# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# zswap is on from boot: the swap half stays off, and says why.
# guest: ram=64M disk=128M words=zcache,zswap.enabled=1
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh

grep -q 'frontswap: off: zswap is on' "$Z/status" ||
	fail "status: $(cat "$Z/status")"
grep -q 'cleancache: on' "$Z/status" || fail 'the other half is off as well'
holds 'one line in dmesg' \
	"$(dmesg | grep -c 'frontswap not enabled: zswap is on')" -eq 1
make_swap /dev/ubda
/run/bin/zcache-tools swapper --mib 56 --seconds 3
holds 'no page was stored here' "$(counter pers_puts)" -eq 0
holds 'zswap worked' "$(awk '/^zswpin/ { print $2 }' /proc/vmstat)" -gt 0
swapoff /dev/ubda
