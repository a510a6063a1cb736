# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# zcache.cleancache=off and zcache.frontswap=on at boot go before the boot words.
# guest: ram=64M words=zcache,nofrontswap,zcache.frontswap=on,zcache.cleancache=off
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh

folder=/sys/module/zcache/parameters
printf 'on\ncleancache: off: switched off\nfrontswap: on: %s\n' \
	'no swap area takes part' | diff - "$Z/status" || fail 'status'
holds 'cleancache' "$(cat $folder/cleancache)" = off
holds 'frontswap' "$(cat $folder/frontswap)" = on
dmesg | grep -q 'zcache: cleancache not enabled: switched off' ||
	fail 'no line in the log'
sh /run/src/scripts/zcache-stats >/tmp/said
grep -q '^zcache: on; cleancache: off: switched off; frontswap: on: ' /tmp/said ||
	fail "zcache-stats: $(head -n 1 /tmp/said)"
