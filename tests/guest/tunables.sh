# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# What zcache of Linux 3.1 let root set: who may write, what is refused, and
# that each one refuses pages, which are counted and go to the device.
# guest: ram=96M disk=192M words=zcache
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh

for name in zv_max_zsize:3584:0:3585 zv_max_mean_zsize:3584:0:3585 \
	zv_page_count_policy_percent:0:-1:151; do
	IFS=: read -r name default below above <<-END
		$name
	END
	holds "$name: root may write, all may read" "$(stat -c %a "$Z/$name")" = 644
	holds "$name: the default" "$(counter "$name")" -eq "$default"
	for odd in "$below" "$above" 4294967297 many '' '5 5'; do
		if echo "$odd" 2>/dev/null >"$Z/$name"; then
			fail "$name took '$odd'"
		fi
	done
	if echo 100 | setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin \
		tee "$Z/$name" 2>/tmp/why; then
		fail "$name can be written without CAP_SYS_ADMIN"
	fi
	grep -q 'not permitted' /tmp/why || fail "another error: $(cat /tmp/why)"
	holds "$name: nothing has changed" "$(counter "$name")" -eq "$default"
done

make_swap /dev/ubda
mkdir /tmp/d
mount -t tmpfs -o size=120m tmpfs /tmp/d
make_cgroup small 8M
# swap_out NAME FIRST: 16 MiB of text, most of it swapped out.
swap_out() { in_cgroup sh -c "seq $2 99999999 | head -c 16M >/tmp/d/$1"; }
# refuses COUNTER FILE VALUE: with VALUE, what is swapped out counts there.
refuses() {
	count=$(counter "$1")
	out=$(awk '/^pswpout/ { print $2 }' /proc/vmstat)
	before=$(counter "$2")
	echo "$3" >"$Z/$2"
	holds "$2 is set" "$(counter "$2")" -eq "$3"
	swap_out more 20000000
	holds "$2: counted as $1" "$(counter "$1")" -gt $((count + 1000))
	holds "$2: written to the device" \
		"$(awk '/^pswpout/ { print $2 }' /proc/vmstat)" -gt $((out + 1000))
	holds "$2: all is right" "$(cksum </tmp/d/more)" = \
		"$(seq 20000000 99999999 | head -c 16M | cksum)"
	rm /tmp/d/more
	echo "$before" >"$Z/$2"
}
swap_out held 10000000
holds 'pages are held' "$(counter pers_zpages)" -gt 2000
mean=$(($(counter pers_zbytes) / $(counter pers_zpages)))
for reason in pers_compress_poor mean_compress_poor pers_refused_page_count; do
	holds "$reason: none" "$(counter $reason)" -lt 10
done
refuses pers_compress_poor zv_max_zsize $((mean / 2))
refuses mean_compress_poor zv_max_mean_zsize $((mean / 2))
refuses pers_refused_page_count zv_page_count_policy_percent 1
puts=$(counter pers_puts)
swap_out more 30000000
holds 'unset, they refuse nothing' "$(counter pers_puts)" -gt $((puts + 1000))
holds 'reasons are all refusals' "$(counter failed_pers_puts)" -eq \
	$(($(counter pers_compress_poor) + $(counter mean_compress_poor) + \
	$(counter pers_refused_page_count) + $(counter pers_refused_full) + \
	$(counter pers_refused_no_memory)))
rm /tmp/d/*
umount /tmp/d
swapoff /dev/ubda
no_swapped_page 'after swapoff'
