# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# While the swap half is on, zswap cannot be turned on, and says why.
# guest: ram=64M disk=128M words=zcache
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh

zswap=/sys/module/zswap/parameters/enabled
make_swap /dev/ubda
if echo 1 >$zswap; then
	fail 'zswap was turned on'
fi
holds 'zswap is off' "$(cat $zswap)" = N
dmesg | grep -q "zswap: can't enable, frontswap is on" || fail 'no line in dmesg'
echo 0 >$zswap || fail 'zswap cannot be turned off'
/run/bin/zcache-tools swapper --mib 64 --seconds 2
holds 'zswap has no page' "$(awk '/^zswpout/ { print $2 }' /proc/vmstat)" -eq 0
holds 'pages were stored' "$(counter pers_puts)" -gt 0
swapoff /dev/ubda
