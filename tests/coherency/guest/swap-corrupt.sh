# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Damaged data in memory: an error to the one who wants that page, SIGBUS or
# EIO, and to nobody else. Never a wrong byte. Wants CONFIG_ZCACHE_DEBUG.
# guest: ram=160M disk=128M words=zcache,zcache_corrupt
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh

make_swap /dev/ubda
# Only this group is swapped out: one page in 16 of whom that hits is damaged.
make_cgroup victims max

reclaim=$CGROUP/memory.reclaim
status=0
# shellcheck disable=SC2016
in_cgroup awk -v reclaim="$reclaim" 'BEGIN {
	for (i = 0; i < 100000; i++)
		text[i] = "this is line " i
	for (k = 0; k < 12; k++) {
		print "1M swappiness=max" >reclaim
		close(reclaim)
	}
	for (i = 0; i < 100000; i++)
		if (text[i] != "this is line " i)
			exit 1
}' || status=$?
holds 'a process was ended by SIGBUS' $status -eq 135
lost=$(counter failed_pers_gets)
holds 'a load failed' "$lost" -gt 0

# On tmpfs, block by block: some cannot be read, and all others are right.
mkdir /tmp/d
mount -t tmpfs -o size=64m tmpfs /tmp/d
real_bytes 16M >/tmp/real
in_cgroup sh -c 'cat /tmp/real >/tmp/d/file'
echo '16M swappiness=max' >"$reclaim" || :
dd if=/tmp/d/file of=/tmp/copy bs=4k conv=noerror,sync 2>/tmp/said || :
errors=$(grep -c 'Input/output error' /tmp/said || :)
holds 'blocks could not be read' "$errors" -gt 10
holds 'the others are right' "$(cmp -l /tmp/real /tmp/copy |
	awk '{ print int(($1 - 1) / 4096) }' | uniq | wc -l)" -le "$errors"
holds 'each error is a load that failed' \
	"$(counter failed_pers_gets)" -ge $((lost + errors))
rm /tmp/d/file /tmp/copy

# The machine goes on, and nothing damaged is left behind.
/run/bin/zcache-tools swapper --mib 16 --seconds 1
swapoff /dev/ubda || fail 'swapoff'
no_swapped_page 'after swapoff'
