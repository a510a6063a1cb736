#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# make stats: shows what a guest writes, and leaves one that is gone.
# shellcheck source=tests/host/lib.sh
. "$(dirname "$0")/lib.sh"

watch() { ZCACHE_RESULTS=$TMP/guest sh "$ROOT/scripts/stats" "$@"; }

ends 2 watch
says 'no guest writes'
ends 2 watch x
mkdir "$TMP/guest"
echo 'health: good' >"$TMP/guest/stats"
ends 0 watch 1
says 'health: good'
# The guest stopped long ago.
touch -d '-1 hour' "$TMP/guest/stats"
ends 2 watch
says 'make shell'
