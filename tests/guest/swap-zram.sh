# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Swap on zram is compressed already: left alone, and named in the log.
# guest: ram=96M words=zcache
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh

echo 64M >/sys/block/zram0/disksize
make_swap /dev/zram0
dmesg | grep -q 'leaving swap on zram0 alone' || fail 'no line in dmesg'
make_cgroup group 20M
in_cgroup /run/bin/zcache-tools swapper --mib 32 --seconds 2 --seed 9
holds 'no page was stored' "$(counter pers_puts)" -eq 0
holds 'pages were swapped' "$(awk '/^pswpin/ { print $2 }' /proc/vmstat)" -gt 0
swapoff /dev/zram0
