#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Leaving: uninstall prints a line and runs nothing; distclean removes the cache
# and out/, says how much that was, and touches no folder that is not ours.
# shellcheck source=tests/host/lib.sh
. "$(dirname "$0")/lib.sh"

mkdir -p "$TMP/checkout" "$TMP/cache/src"
cp -r "$ROOT/scripts" "$TMP/checkout/"
run() { env -u ZCACHE_LOCKED ZCACHE_CACHE="$1" sh "$TMP/checkout/scripts/$2"; }

# Something that is installed wherever there is dpkg.
printf '%s\n' dpkg no-such-package dpkg >"$TMP/cache/installed-packages"
if command -v dpkg-query >/dev/null; then
	ends 0 run "$TMP/cache" uninstall
	grep -qx '    apt-get purge dpkg' "$TMP/said" || fail 'no line, or a wrong one'
	[ -n "$(dpkg-query -W dpkg)" ] || fail 'it ran it'
fi
rm "$TMP/cache/installed-packages"
ends 0 run "$TMP/cache" uninstall
says 'set-up installed no packages'

head -c 300000000 /dev/zero >"$TMP/cache/src/file"
ends 2 run "$TMP/cache" distclean
says 'does not look like'
[ -e "$TMP/cache/src/file" ] || fail 'it removed what is not ours'

: >"$TMP/cache/lock"
mkdir "$TMP/checkout/out"
ends 0 run "$TMP/cache" distclean
says "removing $TMP/cache: 0.3 GB"
says "removing $TMP/checkout/out: 0.0 GB"
for gone in cache checkout/out; do
	[ ! -e "$TMP/$gone" ] || fail "$gone is not gone"
done
ends 0 run "$TMP/cache" distclean
