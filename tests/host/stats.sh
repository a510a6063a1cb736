#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# zcache-stats: counters, an old or other kernel, zcache off.
# shellcheck source=tests/host/lib.sh
. "$(dirname "$0")/lib.sh"

stats() { ZCACHE_SYSFS=$TMP/z sh "$ROOT/scripts/zcache-stats"; }

ends 1 stats
says 'this kernel has none'

mkdir "$TMP/z"
echo 'off: boot with the word "zcache" to turn it on' >"$TMP/z/status"
ends 1 stats
says 'zcache: off: boot with'

printf 'on\ncleancache: on\n' >"$TMP/z/status"
echo 3000 >"$TMP/z/stored_pages"
echo 2000 >"$TMP/z/frames"
echo 2048000 >"$TMP/z/metadata_bytes"
echo 1500 >"$TMP/z/pcd_count"
echo 2400 >"$TMP/z/dedup_pages"
echo 1.60 >"$TMP/z/dedup_ratio"
echo 4000 >"$TMP/z/eph_gets"
echo 3000 >"$TMP/z/eph_hits"
echo 5000 >"$TMP/z/pers_stored_pages"
echo 1500 >"$TMP/z/pers_frames"
ends 0 stats
says 'zcache: on; cleancache: on'
says '3.33  2.50 with metadata'
says '1.50  1.20 with metadata'
says '1.60 pages each'
says '75.0 % of those asked'
if awk 'length > 80 { long = 1 } END { exit !long }' "$TMP/said"; then
	fail 'a line is longer than 80 columns'
fi
