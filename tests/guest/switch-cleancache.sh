# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# The file half off from boot, on, off and on again: off holds nothing, and what
# changed meanwhile is never read as it was before.
# guest: ram=96M disk=192M words=zcache,nocleancache
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh

word=/sys/module/zcache/parameters/cleancache
# status TEXT: of the file half.
status() {
	holds 'status' "$(sed -n 's/^cleancache: //p' "$Z/status")" = "$1"
}

holds 'off at boot' "$(cat $word)" = off
status 'off: boot word nocleancache'
said 'zcache: cleancache not enabled: boot word nocleancache'
said 'zcache: frontswap enabled: no swap area takes part$'
for odd in maybe '' 1; do
	if echo "$odd" 2>/dev/null >$word; then fail "'$odd' was taken"; fi
done
make_fs
real_bytes 100M | (cd /run/mnt && split -b 4M -a 2 - part.)
sync
(cd /run/mnt && cksum part.*) >/tmp/sums
same() {
	(cd /run/mnt && cksum part.*) | cmp - /tmp/sums || fail "$1: content differs"
	echo "ok: $1: content is right"
}
same 'off'
holds 'no page was stored' "$(counter eph_puts)" -eq 0
holds 'nor looked for' "$(counter eph_gets)" -eq 0

# The file system was mounted while it was off.
echo on >$word
holds 'on' "$(cat $word)" = on
status 'on: no filesystem takes part'
said 'zcache: cleancache enabled: no filesystem takes part$'
same 'first pass with it on'
status on
first='cleancache: the first filesystem takes part: ext4 on ubda$'
said "zcache: $first"
same 'second pass'
same 'third pass'
holds 'pages were stored' "$(counter eph_puts)" -gt 3000
holds 'pages were served' "$(counter eph_hits)" -gt 500
puts=$(counter eph_puts)
echo on >$word || fail 'it cannot be turned on twice'

squeeze 40
holds 'pages are there' "$(counter stored_pages)" -gt 1000
echo off >$word
nothing_held 'off'
holds 'off: no spare frame' "$(counter zbpg_unused_list_count)" -eq 0
status 'off: switched off'
said 'zcache: cleancache disabled'
puts=$(counter eph_puts) gets=$(counter eph_gets)
same 'off again'
holds 'off: no page was stored' "$(counter eph_puts)" -eq "$puts"
holds 'off: none was looked for' "$(counter eph_gets)" -eq "$gets"

# Turn after turn: everything that can change a file, while it is off.
for turn in 1 2 3 4; do
	echo on >$word
	squeeze 40
	same "turn $turn, on"
	[ "$turn" -ne 1 ] || {
		said 'zcache: cleancache enabled$'
		holds 'one line about it' "$(dmesg | grep -c "$first")" -eq 1
	}
	squeeze 40
	holds "turn $turn: pages are there" "$(counter stored_pages)" -gt 500
	echo off >$word
	for file in /run/mnt/part.a[a-d]; do
		head -c 600000 /dev/urandom | dd of="$file" bs=64k seek="$turn" \
			iflag=fullblock conv=notrunc status=none
	done
	truncate -s $((turn * 300000)) /run/mnt/part.ae
	truncate -s 4194304 /run/mnt/part.ae
	fallocate --punch-hole --offset $((turn * 100000)) --length 900000 \
		/run/mnt/part.af
	tr '\0' "$turn" </dev/zero | dd of=/run/mnt/part.ag bs=64k count=64 \
		iflag=fullblock oflag=direct conv=notrunc status=none
	rm /run/mnt/part.ah
	real_bytes $((4 * turn))M | tail -c 4M >/run/mnt/part.ah
	sync
	(cd /run/mnt && cksum part.*) >/tmp/sums
	echo 1 >/proc/sys/vm/drop_caches
	same "turn $turn, off"
	[ "$turn" -lt 3 ] || {
		# Nobody drops its pool now, but the unmounting does.
		umount /run/mnt
		holds "turn $turn: no pool" "$(counter curr_pool_count)" -eq 1
		mount -t ext4 -o noatime /dev/ubda /run/mnt
	}
done
status 'off: switched off'

# Everybody at once.
for _ in 1 2 3 4; do
	for turn in 1 2 3 4 5 6 7 8; do
		echo on
		echo off
	done | while read -r to; do echo "$to" >$word || :; done &
done
same 'during a race of writers'
wait
echo on >$word
same 'after it'
status on
umount /run/mnt
nothing_held 'after umount'
status 'on: no filesystem takes part'
