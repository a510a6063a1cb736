# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Limits that change while pages are held: whoever lowers one waits until file
# pages are evicted, swapped pages stay and no more come, a higher one has room
# at once. Numbers out of range change nothing.
# guest: ram=96M disk=256M words=zcache
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh
P=/sys/module/zcache/parameters
pages=$(($(awk '/^MemTotal/ { print $2 }' /proc/meminfo) / 4))

for name in limit_percent:50 pers_limit_percent:50 total_limit_percent:90; do
	default=${name#*:} name=${name%:*}
	holds "$name: root may write, all may read" "$(stat -c %a "$P/$name")" = 644
	holds "$name: the default" "$(cat "$P/$name")" -eq "$default"
	for odd in 0 91 -1 4294967346 ten '' '5 5'; do
		if echo "$odd" 2>/dev/null >"$P/$name"; then
			fail "$name took '$odd'"
		fi
	done
	holds "$name: nothing has changed" "$(cat "$P/$name")" -eq "$default"
done

# File pages.
make_fs
real_bytes 130M >/run/mnt/file
sync
read_file() { for _ in 1 2; do cat /run/mnt/file >/dev/null; done; }
read_file
holds 'many frames are held' "$(counter frames)" -gt $((pages / 5))
evicted=$(counter evicted_raw_pages)
echo 10 >$P/limit_percent
holds 'the limit is 10 % of RAM' "$(counter limit_frames)" -le $((pages / 10))
holds 'it holds at once' "$(counter frames)" -le "$(counter limit_frames)"
holds 'frames were evicted' \
	"$(counter evicted_raw_pages)" -gt $((evicted + pages / 12))
read_file
holds 'it holds later' "$(counter frames)" -le "$(counter limit_frames)"
echo 50 >$P/limit_percent
read_file
holds 'a higher one is used' "$(counter frames)" -gt $((pages / 5))
echo 5 >$P/total_limit_percent
holds 'both together' "$(counter frames)" -le \
	$(($(counter total_limit_frames) - $(counter pers_frames)))
echo 90 >$P/total_limit_percent
umount /run/mnt
nothing_held 'after umount'

# Swapped pages.
make_swap /dev/ubda
mkdir /tmp/d
mount -t tmpfs -o size=120m tmpfs /tmp/d
make_cgroup small 8M
# text FIRST MIB
text() { seq "$1" 99999999 | head -c "$2"M; }
# swap_out NAME FIRST MIB: a file most of which is swapped out.
swap_out() {
	in_cgroup sh -c "seq $2 99999999 | head -c $3M >/tmp/d/$1"
	holds "$1 is right" "$(cksum </tmp/d/"$1")" = "$(text "$2" "$3" | cksum)"
}
swap_out held 10000000 48
holds 'pages are held' "$(counter pers_stored_pages)" -gt 6000
stored=$(counter pers_stored_pages)
lower=$(($(counter pers_frames) * 100 / pages / 2))
echo $lower >$P/pers_limit_percent
holds 'fewer are allowed' \
	"$(counter pers_frames)" -gt "$(counter pers_limit_frames)"
holds 'pages stay' "$(counter pers_stored_pages)" -gt $((stored - 64))
puts=$(counter pers_puts)
full=$(counter pers_refused_full)
in_cgroup sh -c 'seq 20000000 99999999 | head -c 16M >/tmp/d/more'
holds 'none was added' "$(counter pers_puts)" -eq "$puts"
holds 'they went to the device' \
	"$(counter pers_refused_full)" -gt $((full + 1000))
holds 'more is right' "$(cksum </tmp/d/more)" = "$(text 20000000 16 | cksum)"
rm /tmp/d/held /tmp/d/more
holds 'now there is room' \
	"$(counter pers_frames)" -lt "$(counter pers_limit_frames)"
puts=$(counter pers_puts)
swap_out after 30000000 48
holds 'pages are stored again' "$(counter pers_puts)" -gt $((puts + 1000))
holds 'within the limit' \
	"$(counter pers_frames)" -le "$(counter pers_limit_frames)"
most=$(counter pers_limit_frames)
echo 50 >$P/pers_limit_percent
swap_out higher 40000000 32
holds 'a higher one is used' "$(counter pers_frames)" -gt "$most"
rm /tmp/d/*
umount /tmp/d
holds 'none was lost' "$(counter failed_pers_gets)" -eq 0
swapoff /dev/ubda
no_swapped_page 'after swapoff'
