# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# A program that fits RAM and swap lives, although most of its swapped pages can be
# in zcache, where they take memory: it was killed at 135 % of RAM, before pages were
# written back, and was not at 141 %.
# guest: ram=128M disk=60M words=zcache
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh

make_swap /dev/ubda
kib=$(awk '/^MemTotal/ { print $2 }' /proc/meminfo)
/run/bin/zcache-tools eat --seed 1 --bytes $((kib * 1024 * 138 / 100)) \
	/run/bin/zcache-tools
holds 'nothing was killed' \
	"$(awk '/^oom_kill / { print $2 }' /proc/vmstat)" -eq 0
holds 'pages were written back' "$(counter pers_written_back)" -gt 0
holds 'none was lost' "$(counter failed_pers_gets)" -eq 0
swapoff /dev/ubda
no_swapped_page 'after swapoff'
