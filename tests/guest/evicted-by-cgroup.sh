# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Pages that one cgroup pushes out of a full store count as evicted by another
# one if they are another one's, and only then.
# guest: ram=96M disk=256M words=zcache,zcache.limit_percent=12,zcache.admission=all,zcache.dedup=off
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh

make_fs
real_bytes 80M >/run/mnt/one
real_bytes 60M | tr '[:lower:]' b-za >/run/mnt/other
sync
echo 1 >/proc/sys/vm/drop_caches

# reads FILE TIMES: in CGROUP. EVICTED are frames that made room, OTHERS the
# pages in them that another group had put.
reads() {
	EVICTED=$(counter evicted_raw_pages)
	OTHERS=$(counter evicted_by_other_cgroup)
	for _ in $(seq "$2"); do
		in_cgroup cat "$1" >/dev/null
	done
	EVICTED=$(($(counter evicted_raw_pages) - EVICTED))
	OTHERS=$(($(counter evicted_by_other_cgroup) - OTHERS))
	echo "$1 in ${CGROUP##*/}: $EVICTED frames evicted, $OTHERS pages of others"
}

make_cgroup one 16M
reads /run/mnt/one 3
holds 'the store was full' "$EVICTED" -gt 2000
# What ran before, outside of the group, may have put some.
holds 'a group alone hardly evicts others' "$OTHERS" -lt $((EVICTED / 4))

make_cgroup other 16M
reads /run/mnt/other 1
holds 'a second group evicts' "$EVICTED" -gt 1000
holds 'pages of the first' "$OTHERS" -gt 1000
reads /run/mnt/other 3
reads /run/mnt/other 1
holds 'and then its own' "$EVICTED" -gt 1000
holds 'and hardly others' "$OTHERS" -lt $((EVICTED / 4))
umount /run/mnt
nothing_held 'after umount'
