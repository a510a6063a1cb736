# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# The swap half off from boot, with a swap area in use, then on, off and on: off
# takes no page, and what is held comes back as it is needed.
# guest: ram=64M disk=160M words=zcache,nofrontswap
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh

word=/sys/module/zcache/parameters/frontswap
zswap=/sys/module/zswap/parameters/enabled
# status TEXT: of the swap half.
status() {
	holds 'status' "$(sed -n 's/^frontswap: //p' "$Z/status")" = "$1"
}

holds 'off at boot' "$(cat $word)" = off
status 'off: boot word nofrontswap'
said 'zcache: cleancache enabled: no filesystem takes part$'
make_swap /dev/ubda
make_cgroup load 24M
# Turned on and off under its feet: each page is checked.
in_cgroup /run/bin/zcache-tools swapper --mib 48 --seconds 12 --seed 8 &
load=$!
sleep 2
holds 'no page was stored' "$(counter pers_puts)" -eq 0
for turn in 1 2 3; do
	before=$(counter pers_puts)
	echo on >$word
	status on
	soon pers_puts -gt $((before + 200))
	holds "turn $turn: pages were stored" \
		$(($(counter pers_puts) - before)) -gt 200
	echo off >$word
	# One store that had begun may end.
	sleep 0.1
	before=$(counter pers_puts)
	left=$(counter pers_stored_pages)
	holds "turn $turn: pages are left" "$left" -gt 0
	grep -qE '^frontswap: off: switched off, [0-9]+ pages are left$' \
		"$Z/status" || fail "status: $(cat "$Z/status")"
	sleep 1
	holds "turn $turn: none more was stored" \
		"$(counter pers_puts)" -eq "$before"
	soon pers_stored_pages -lt "$left"
	holds "turn $turn: they are used up" "$(counter pers_stored_pages)" -lt "$left"
done
wait $load || fail 'a page was wrong'
said 'zcache: frontswap enabled$'
held_only_in_use 'off'
holds 'none was lost' "$(counter failed_pers_gets)" -eq 0
swapoff /dev/ubda
no_swapped_page 'off, and without swap'
status 'off: switched off'

# Then zswap may have them, and who asks for both is told.
echo 1 >$zswap || fail 'zswap cannot be turned on'
if echo on 2>/dev/null >$word; then fail 'both are on'; fi
holds 'it stays off' "$(cat $word)" = off
status 'off: zswap is on or holds pages (-16)'
said 'zcache: frontswap not enabled: zswap is on'
echo 0 >$zswap
echo on >$word || fail 'it cannot be turned on after zswap'
status 'on: no swap area takes part'
said 'zcache: frontswap enabled: no swap area takes part$'
! dmesg | grep ' frontswap: swap area' || fail 'it was there before'
swapon /dev/ubda
status on
said ' frontswap: swap area 0 takes part$'
swapoff /dev/ubda
