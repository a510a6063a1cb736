# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Who looks for memory finds it: frames of file pages in KReclaimable, exactly,
# and in MemAvailable; both halves in Zcache and Zcached, and in the dump of
# memory; each filesystem's share in debugfs.
# guest: ram=96M disk=128M words=zcache
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh
POOLS=/sys/kernel/debug/zcache/pools

# kib NAME: from the copy of meminfo that moment took.
kib() { awk -v name="$1:" '$1 == name { print $2 }' /tmp/meminfo; }

# Copies meminfo, as of a time in which no page came or went.
moment() {
	for try in 1 2 3 4 5 6 7 8 9 10; do
		held=$(cat "$Z/frames" "$Z/pers_frames" "$Z/stored_pages" \
			"$Z/pers_stored_pages")
		cat /proc/meminfo >/tmp/meminfo
		[ "$held" != "$(cat "$Z/frames" "$Z/pers_frames" "$Z/stored_pages" \
			"$Z/pers_stored_pages")" ] || return 0
		sleep 0.2
	done
	fail "no quiet moment in $try tries"
}

# agrees WHEN: meminfo with the counters.
agrees() {
	moment
	# shellcheck disable=SC2086
	set -- "$1" $held
	holds "$1: KReclaimable has the file pages' frames" \
		$(($(kib KReclaimable) - $(kib SReclaimable))) -eq $(($2 * 4))
	holds "$1: Zcache has all frames" "$(kib Zcache)" -eq $((($2 + $3) * 4))
	holds "$1: Zcached has all pages" "$(kib Zcached)" -eq $((($4 + $5) * 4))
}

# pool KIND FILESYSTEM DEVICE COLUMN
pool() {
	awk -v kind="$1" -v fs="$2" -v device="$3" -v column="$4" '
		$2 == kind && $3 == fs && $4 == device { print $column }' "$POOLS"
}

agrees 'empty'
make_fs
real_bytes 100M >/run/mnt/file
sync
cat /run/mnt/file >/dev/null
cat /run/mnt/file >/dev/null
agrees 'full'
holds 'there was something to count' "$(kib Zcache)" -gt 12000
holds 'pages are more than their frames' "$(kib Zcached)" -gt "$(kib Zcache)"
# All of them but half of what is below the watermarks counts as available.
available=$(kib MemAvailable)
holds 'MemAvailable is more than is free and cached' "$available" -gt \
	$(($(kib MemFree) + $(kib Cached) + $(kib Buffers) + \
	$(kib SReclaimable)))
holds 'the pool has the pages' "$(pool ephemeral ext4 ubda 5)" -eq \
	"$(counter stored_pages)"
holds 'the pool has the hits' "$(pool ephemeral ext4 ubda 8)" -eq \
	"$(counter eph_hits)"
holds 'a pool for swapped pages' "$(pool persistent swap - 5)" -eq 0

# The dump of memory that an OOM kill comes with.
echo m >/proc/sysrq-trigger
dmesg | grep -E '[0-9]+ pages zcache, holding [0-9]+ pages$' >/tmp/dump ||
	fail 'no line in the dump of memory'
cat /tmp/dump

umount /run/mnt
agrees 'after umount'
holds 'nothing is left' "$(kib Zcache)" -eq 0
holds 'the pool is gone' "$(wc -l <"$POOLS")" -eq 2
# Frames of swapped pages are none of it: nobody else can have them.
make_swap /dev/ubda
make_cgroup victim max
# shellcheck disable=SC2016
in_cgroup awk -v reclaim="$CGROUP/memory.reclaim" 'BEGIN {
	for (i = 0; i < 100000; i++)
		text[i] = "this is line " i
	for (k = 0; k < 8; k++) {
		print "1M swappiness=max" >reclaim
		close(reclaim)
	}
	system("sleep 4")
}' &
child=$!
soon pers_frames -gt 100
sleep 1
agrees 'with swapped pages'
holds 'they have frames' "$(counter pers_frames)" -gt 100
holds 'the pool has them' "$(pool persistent swap - 5)" -gt 1000
wait "$child" || :
