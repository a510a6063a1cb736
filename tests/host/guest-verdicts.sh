#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The guest runner tells a failed command, a hang and a broken kernel apart,
# and leaves no process and no file behind.
# shellcheck source=tests/host/lib.sh
. "$(dirname "$0")/lib.sh"

guest() {
	sh "$ROOT/scripts/guest" -k "$LINUX" -m 64M -o "$TMP/out" "$@"
}
# On the same tmpfs as ever, but a folder that can be looked into.
rmdir "$TMP"
TMP=$(mktemp -d "${ZCACHE_TMPDIR:-/dev/shm}/zcache-test.XXXXXX")
mkdir "$TMP/shm"
export ZCACHE_TMPDIR="$TMP/shm" ZCACHE_CACHE="$TMP/cache"
trap 'rm -rf "$TMP"' EXIT

ends 0 guest echo "it's a" 'quoted  word'
says "it's a quoted  word"
ends 7 guest sh -c 'exit 7'
ends 124 guest -t 4 sleep 1000
says 'still running after 4 s'
ends 125 guest sh -c 'echo c >/proc/sysrq-trigger; sleep 20'
says 'the kernel complained'
ends 125 guest sh -c 'echo o >/proc/sysrq-trigger; sleep 20'
says 'ended before its command did'

# Ended from outside.
sh "$ROOT/scripts/guest" -k "$LINUX" -m 64M -o "$TMP/out" sleep 1000 \
	>"$TMP/said" 2>&1 &
runner=$!
sleep 2
kill -TERM "$runner"
wait "$runner" || :
sleep 1

[ -z "$(ls "$TMP/shm")" ] || fail "left in its folder: $(ls "$TMP/shm")"
[ -z "$(ls "$TMP/cache/uml")" ] || fail "left in the cache: $(ls "$TMP/cache/uml")"
for process in /proc/[0-9]*/cmdline; do
	if { tr "\0" " " <"$process"; } 2>/dev/null | grep -q "uml_dir=$TMP/cache"; then
		fail "still running: $process"
	fi
done
