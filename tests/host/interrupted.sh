#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck disable=SC2016
#
# What an interrupted set-up leaves: no process, an open lock, and a cache from
# which the next one goes on, wherever it was.
# shellcheck source=tests/host/lib.sh
. "$(dirname "$0")/lib.sh"

CHECKOUT=$TMP/checkout
mkdir -p "$CHECKOUT/patches/7.3"
cp -r "$ROOT/scripts" "$CHECKOUT/"
cp "$ROOT/Kconfig" "$CHECKOUT/"

# with COMMANDS: the scripts' functions, in a checkout and a cache of their own.
# In the background a shell ignores Ctrl-C from the start, under nohup a closed
# terminal, but for env; and exec makes the scripts' shell the one whose number is
# known.
with() {
	exec env -u ZCACHE_LOCKED --default-signal=INT,HUP ROOT="$CHECKOUT" \
		ZCACHE_CACHE="$TMP/cache" MARK="$TMP" \
		sh -euc '. "$ROOT/scripts/setup.sh"; DISTRO=other; '"$1"
}

# The processes of this test that are still there.
left() {
	for process in /proc/[0-9]*/environ; do
		if { tr '\0' '\n' <"$process"; } 2>/dev/null |
			grep -qx "MARK=$TMP"; then
			echo "${process%/environ}"
		fi
	done
}

# Ctrl-C comes as SIGINT, a closed terminal as SIGHUP, a service manager as
# SIGTERM. The step has children of its own, one of them deaf.
for signal in INT TERM HUP; do
	rm -f "$TMP/started"
	with 'lock_cache; run_dir; say "$RUNDIR" >"'"$TMP"'/rundir"
		step "a step" x.log sh -c "sleep 1000 & trap \"\" TERM; sleep 1000 &
			: >\"'"$TMP"'/started\"; wait"' >"$TMP/said" 2>&1 &
	runner=$!
	while [ ! -e "$TMP/started" ]; do sleep 0.1; done
	kill "-$signal" "$runner"
	rc=0
	wait "$runner" || rc=$?
	[ "$rc" -gt 128 ] || fail "status $rc after $signal"
	[ -z "$(left)" ] || fail "left after $signal: $(left)"
	[ ! -e "$(cat "$TMP/rundir")" ] || fail "its folder is left after $signal"
	flock -n "$TMP/cache/lock" true || fail "the lock is held after $signal"
done

# By force nothing can be cleaned up; the next one does, unless it still runs.
(with 'lock_cache; run_dir; say "$RUNDIR" >"'"$TMP"'/rundir"; kill -9 $$') || :
[ -e "$(cat "$TMP/rundir")" ] || fail 'it did clean up'
(with 'run_dir; sh -euc ". \"$ROOT/scripts/lib.sh\"; lock_cache"
	[ -e "$RUNDIR" ]') || fail 'a folder in use is gone'
[ ! -e "$(cat "$TMP/rundir")" ] || fail 'a folder without use is still there'

# A step that must not be cut short is waited for.
with 'mkdir -p "$LOG"; UNCUT=1
	step apt x.log sh -c "sleep 1; : >\"'"$TMP"'/whole\""' >"$TMP/said" 2>&1 &
runner=$!
sleep 0.5
kill -TERM "$runner"
wait "$runner" || :
[ -e "$TMP/whole" ] || fail 'it was cut short'

# What apt was interrupted at is finished first.
(with 'step() { say "STEP $1"; }; spawn() { :; }; mkdir -p "$CACHE"
	MISSING=a; id() { echo 0; }; : >"$CACHE/installing"; install_packages
	[ ! -e "$CACHE/installing" ]') >"$TMP/said" 2>&1 || fail 'apt, interrupted'
[ "$(grep -c STEP "$TMP/said")" -eq 3 ] || fail 'not three steps'
grep STEP "$TMP/said" | head -n 1 | grep -q 'what was interrupted' ||
	fail 'not first'

# The kernel tree, interrupted before or in each of its commands on the way from
# one series to another, and back. The next run must give the new tree; and what
# changed since the objects were built must be newer than they are.
mkdir -p "$TMP/src/mm" "$TMP/src/drivers/staging"
printf 'VERSION = 7\nPATCHLEVEL = 3\n' >"$TMP/src/Makefile"
for file in one two three; do
	seq 1 40 >"$TMP/src/mm/$file.c"
	touch -d 2020-01-01 "$TMP/src/mm/$file.c"
done
# series FILE...: patches that change the 20th line of each.
series() {
	rm -f "$CHECKOUT/patches/7.3"/*
	for file in "$@"; do
		printf '%s\n' "--- a/mm/$file.c" "+++ b/mm/$file.c" '@@ -18,5 +18,5 @@' \
			' 18' ' 19' '-20' "+$file" ' 21' ' 22' \
			>"$CHECKOUT/patches/7.3/0001-$file.patch"
	done
}
BREAK='
	tick() {
		n=$((n + 1))
		if [ "$n" -eq "$at" ]; then
			[ "$1" != rm ] || command rm -rf "$3/mm"
			kill -9 $$
		fi
	}
	for word in rm mv cp ln; do
		eval "$word() { tick $word \"\$@\"; command $word \"\$@\"; }"
	done
	n=0'
GO='export KERNEL_SRC="'$TMP/src'"; mkdir -p "$LOG"; kernel_source; '
# check FILE...: the tree has the series for these files, and make would see so.
check() {
	(with "$GO"'kernel_tree; say "$TREE" >"'"$TMP"'/tree"') >"$TMP/said" 2>&1 ||
		fail 'it does not go on'
	tree=$(cat "$TMP/tree")
	for file in one two three; do
		want=20
		case " $* " in *" $file "*) want=$file ;; esac
		[ "$(sed -n 20p "$tree/mm/$file.c")" = "$want" ] ||
			fail "at $at: wrong text in $file.c"
		[ "$(sed -n 20p "$TMP/built/mm/$file.c")" = "$want" ] ||
			[ -n "$(find "$tree/mm/$file.c" -newer "$TMP/built/time")" ] ||
			fail "at $at: make does not see the change of $file.c"
	done
}
at=0
while :; do
	at=$((at + 1))
	rm -rf "$TMP/cache" "$TMP/built"
	series one two
	(with "$GO"'kernel_tree; say "$TREE" >"'"$TMP"'/tree"') >"$TMP/said" 2>&1
	tree=$(cat "$TMP/tree")
	cp -rL "$tree/mm" "$TMP/mm"
	mkdir "$TMP/built"
	mv "$TMP/mm" "$TMP/built/mm"
	# The objects are built now, a while after the files.
	find "$tree/" -newermt '5 minutes ago' -type f -links 1 \
		-exec touch -d '3 minutes ago' {} +
	touch -d '2 minutes ago' "$TMP/built/time"
	series two three
	rc=0
	(with "$GO at=$at;$BREAK"'; kernel_tree; exit 9') >"$TMP/said" 2>&1 || rc=$?
	# Half of them go on, half go back.
	if [ $((at % 2)) -eq 0 ]; then
		check two three
	else
		series one two
		check one two
	fi
	[ "$rc" -ne 9 ] || break
	[ "$at" -lt 60 ] || fail 'it never ends'
done
[ "$at" -gt 6 ] || fail "only $at places to be interrupted at"
echo "$at places"
