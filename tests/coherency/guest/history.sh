# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# With guards out of order the exerciser must find a stale page, say from which
# seed, and find a short history that does it again.
# guest: ram=96M disk=128M words=zcache,nofrontswap,zcache.admission=all
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh
# shellcheck source=tests/coherency/guest/lib.sh
. /run/src/tests/coherency/guest/lib.sh

make ext4
for guards in dirty,insert,remove_other truncate,truncate_empty; do
	echo $guards >/sys/module/cleancache/parameters/skip_guards
	# Threads that race for a file may find it first: that has no history.
	for seed in 9 10 11 12 13 14; do
		if "$PROGRAM" run --root /run/mnt --seconds 30 --seed $seed \
			--workers 1 >/tmp/said; then
			cat /tmp/said
			fail "the exerciser passed without $guards"
		fi
		sed -n '/^WRONG/,/^operations/p' /tmp/said
		grep -q "^WRONG: seed $seed, worker 0" /tmp/said || fail 'no seed'
		! grep -q "^WRONG: .*, round" /tmp/said || break
	done
	steps=$(sed -n 's/^shortest .* again, \([0-9]*\) steps:$/\1/p' /tmp/said)
	[ -n "$steps" ] || fail 'no history does it again'
	holds "a history without $guards is short" "$steps" -le 6
	holds 'and is told' "$(grep -c '^  file [0-9]' /tmp/said)" -eq "$steps"
done
