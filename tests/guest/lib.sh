# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# What the guest tests share. Sourced in the guest; /run/mnt is for the disk.
set -eu
Z=/sys/kernel/mm/zcache

fail() {
	echo "FAIL: $*"
	grep . "$Z"/* 2>/dev/null || :
	exit 1
}

# counter NAME
counter() { cat "$Z/$1"; }

# said PATTERN: the kernel's log has such a line.
said() { dmesg | grep -q "$1" || fail "the log has no '$1'"; }

# timed HOOK: it was, and none of its times is further out than the next.
timed() {
	holds "$1 was timed" "$(counter "timing_$1")" -gt 100
	p50=$(counter "timing_$1_p50_ns") p99=$(counter "timing_$1_p99_ns")
	holds "$1: p50 below p99" "$p50" -le "$p99"
	holds "$1: p99 below p999" "$p99" -le "$(counter "timing_$1_p999_ns")"
	mean=$(($(counter "timing_$1_ns") / $(counter "timing_$1")))
	# Half of the times are p50 or more, so the mean is at least half of it; a
	# quarter leaves room for the width of a bucket.
	holds "$1: a mean that fits p50" "$mean" -ge $((p50 / 4))
}

# soon COUNTER OPERATOR NUMBER: waits until that is true, half a minute at most on
# a slow machine. What is true then is for the next line of the test to say.
soon() {
	for _ in $(seq 150); do
		! test "$(counter "$1")" "$2" "$3" || break
		sleep 0.2
	done
}

# holds WHAT TEST-WORDS...: as test(1), with a name for what did not hold.
holds() {
	what=$1
	shift
	test "$@" || fail "$what: not true: $*"
	echo "ok: $what ($*)"
}

# An ext4 on the disk of the test, with inodes for many small files.
make_fs() {
	mke2fs -q -F -t ext4 -N 16384 /dev/ubda
	mount -t ext4 -o noatime /dev/ubda /run/mnt
}

# real_bytes SIZE: programs and libraries of the host, one after the other.
real_bytes() {
	find /usr/bin "/usr/lib/$(uname -m)-linux-gnu" -maxdepth 1 -type f \
		-size +64k -size -100M | sort | xargs cat 2>/dev/null |
		head -c "$1"
}

# Reads every file below a folder.
read_all() { find "$1" -type f -print0 | xargs -0 cat >/dev/null; }

# squeeze MIB: takes this much memory for a moment, so that pages are evicted.
squeeze() {
	mkdir -p /tmp/squeeze
	mount -t tmpfs -o size="$1"m tmpfs /tmp/squeeze
	head -c "$1"M /dev/urandom >/tmp/squeeze/fill 2>/dev/null || :
	umount /tmp/squeeze
}

# Every counter of what is held now must be zero.
nothing_held() {
	for name in stored_pages same_filled_pages frames curr_obj_count \
		curr_objnode_count zbud_curr_raw_pages zbud_curr_zpages \
		zbud_curr_zbytes zbud_buddied_count; do
		holds "$1: $name is zero" "$(counter $name)" -eq 0
	done
}

# make_swap DISK [SWAPON-WORDS...]: swap on a whole disk.
#
# Where a page block of 4 MiB was broken up, the kernel raises the watermark by
# as much. In guests of 48 or 64 MiB that is more than is ever free, and on a busy
# host it killed a task although swap was free: with zswap, too.
make_swap() {
	echo 0 >/proc/sys/vm/watermark_boost_factor
	mkswap "$1" >/dev/null
	swapon "$@"
}

# Every counter of what the swap half holds must be zero.
no_swapped_page() {
	for name in pers_stored_pages pers_frames pers_zpages pers_zbytes \
		pers_same_filled_pages; do
		holds "$1: $name is zero" "$(counter $name)" -eq 0
	done
}

# A page is held for a slot in use and for no other. Other processes than the
# tested one may have pages there.
held_only_in_use() {
	used=$(awk 'NR > 1 { kib += $4 } END { print kib / 4 }' /proc/swaps)
	holds "$1: no page without a slot" "$(counter pers_stored_pages)" -le "$used"
	holds "$1: hardly any slot is in use" "$used" -lt 1000
}

# make_cgroup NAME LIMIT: a memory cgroup; its folder is CGROUP.
make_cgroup() {
	mkdir -p /tmp/cgroup
	[ -e /tmp/cgroup/cgroup.procs ] ||
		mount -t cgroup2 none /tmp/cgroup
	echo +memory >/tmp/cgroup/cgroup.subtree_control
	CGROUP=/tmp/cgroup/$1
	mkdir -p "$CGROUP"
	echo "$2" >"$CGROUP/memory.max"
}

# in_cgroup COMMAND...: runs it in CGROUP.
in_cgroup() {
	sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$CGROUP" "$@"
}
