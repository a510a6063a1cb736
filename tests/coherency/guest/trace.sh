# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Trace events: each page that comes, is found, is dropped or has to leave says
# so, with its name and why; and nothing when they are off.
# guest: ram=96M disk=128M words=zcache,zcache.admission=all kills=wanted
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh
# shellcheck source=tests/coherency/guest/lib.sh
. /run/src/tests/coherency/guest/lib.sh
T=/sys/kernel/tracing
mount -t tracefs tracefs "$T"

# traced EVENT WORDS...: how many lines there are of the event with all of this.
traced() {
	event=$1
	shift
	awk -v event="zcache_$event:" -v words="$*" '
		BEGIN { count = split(words, wanted, " ") }
		{
			hit = 0
			for (i = 1; i <= NF; i++) {
				if ($i == event) hit = 1
				has[$i] = NR
			}
			for (k = 1; k <= count; k++)
				if (has[wanted[k]] != NR) hit = 0
			lines += hit
		}
		END { print lines + 0 }' /tmp/trace
}

# look: what was traced since the last time.
look() {
	cat "$T/trace" >/tmp/trace
	echo >"$T/trace"
}

# forget: what was traced, which is in memory as well, many megabytes at times.
forget() {
	: >/tmp/trace
	echo >"$T/trace"
}

# kill_for_memory COMMAND...: which says that memory has run out. What is killed
# is a process that waits for it.
kill_for_memory() {
	sleep 1000 &
	victim=$!
	echo 1000 >"/proc/$victim/oom_score_adj"
	"$@"
	! wait "$victim" 2>/dev/null || fail 'nothing was killed'
}
no_memory='echo f >/proc/sysrq-trigger'

holds 'there are four' "$(find "$T"/events/zcache -name format | wc -l)" -eq 4
make ext4
mkdir /run/mnt/d
real_bytes 1M >/run/mnt/d/file
head -c 64k /dev/urandom >/run/mnt/d/noise
sync
evict() { "$PROGRAM" evict "$1"; }
inode=$(stat -c %i /run/mnt/d/file)
# A pool is made by the first read.
evict /run/mnt/d/file
cat /run/mnt/d/file >/dev/null
evict /run/mnt/d/file
cat /run/mnt/d/file >/dev/null
look
holds 'none while they are off' "$(traced put)$(traced get)$(traced flush)" = 000

echo 4096 >"$T/buffer_size_kb"
echo 1 >"$T/events/zcache/enable"
puts=$(counter eph_puts) hits=$(counter eph_hits)
evict /run/mnt/d/file
cat /run/mnt/d/file >/dev/null
puts=$(($(counter eph_puts) - puts)) hits=$(($(counter eph_hits) - hits))
look
grep -m 3 zcache_ /tmp/trace
holds 'pages were put' "$(traced put file object="$inode" result=stored)" -gt 200
holds 'as often as counted' "$(traced put file result=stored)" -eq "$puts"
holds 'and found' "$(traced get file object="$inode" result=hit)" -gt 200
holds 'as often as they were hit' "$(traced get file result=hit)" -eq "$hits"
holds 'page 7 was one' "$(traced get object="$inode" index=7 result=hit)" -eq 1

evict /run/mnt/d/noise
look
holds 'noise is poor' "$(traced put object="$(stat -c %i /run/mnt/d/noise)" \
	result=poor)" -gt 4
evict /run/mnt/d/file
truncate -s 512k /run/mnt/d/file
rm /run/mnt/d/file
sync
look
holds 'a range was dropped' "$(traced flush file object="$inode" what=range)" -gt 0
holds 'its pages were here' "$(awk '/zcache_flush:/ && /what=range/ {
	sub(/.*pages=/, ""); pages += $1 } END { print pages }' /tmp/trace)" -gt 100

# Memory that something else wants: what it takes is said to be for that.
real_bytes 80M >/run/mnt/d/large
sync
cat /run/mnt/d/large >/dev/null
look
holds 'pages left for others' "$(traced evict file reason=room)" -gt 100
forget
evicted=$(counter evicted_raw_pages)
squeeze 50
look
holds 'frames went' "$(($(counter evicted_raw_pages) - evicted))" -gt 100
holds 'pages left under pressure' "$(traced evict file reason=pressure)" -gt 100
# Nobody is killed for memory before all of it was given back. What is read on
# the way may take some again.
cat /run/mnt/d/large >/dev/null
frames=$(counter frames)
holds 'there are frames again' "$frames" -gt 1000
forget
kill_for_memory sh -c "$no_memory"
holds 'hardly a frame is left' "$(counter frames)" -lt $((frames / 10))
look
holds 'pages left before a kill' "$(traced evict file reason=oom)" -gt 100
remove ext4

# Swapped pages have their own name.
make_swap /dev/ubda
make_cgroup victim max
echo >"$T/trace"
# swap_and_read COMMAND: which is run while a part of the lines is swapped.
# shellcheck disable=SC2016
swap_and_read() {
	in_cgroup awk -v reclaim="$CGROUP/memory.reclaim" -v meanwhile="$1" 'BEGIN {
		for (i = 0; i < 20000; i++)
			text[i] = "this is line " i
		print "1M swappiness=max" >reclaim
		close(reclaim)
		system(meanwhile)
		for (i = 0; i < 20000; i++)
			if (text[i] != "this is line " i)
				exit 1
	}' || fail 'a swapped line is wrong'
}
swap_and_read :
look
holds 'swapped pages were put' "$(traced put swap object=0 result=stored)" -gt 50
holds 'and found' "$(traced get swap object=0 result=hit)" -gt 50
kill_for_memory swap_and_read "$no_memory"
look
holds 'swapped pages were written back before a kill' \
	"$(traced flush swap what=write-back)" -gt 50
echo 0 >"$T/events/zcache/enable"
