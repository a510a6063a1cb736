#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# zcache-stats: counters, rates, machine-readable forms, words that are wrong,
# an old or other kernel, zcache off.
# shellcheck source=tests/host/lib.sh
. "$(dirname "$0")/lib.sh"

stats() { ZCACHE_SYSFS=$TMP/z sh "$ROOT/scripts/zcache-stats" "$@"; }

# json EXPRESSION: what the last command said is JSON, and of it this is true.
json() {
	python3 -c 'import json, sys
it = json.load(open(sys.argv[1]))
sys.exit(not eval(sys.argv[2]))' "$TMP/said" "$1" || fail "not so: $1"
}

ends 0 stats --help
says '--prometheus'
for words in --no-such '--interval' '--interval 0' '--interval 1.5' \
	'--interval 99999' '--count 3' '--interval x'; do
	# shellcheck disable=SC2086
	ends 2 stats $words
	says 'next: zcache-stats --help'
done

ends 3 stats
says 'this kernel has none'
ends 3 stats --prometheus
says 'zcache_up 0'

mkdir "$TMP/z"
echo 'off: boot with the word "zcache" to turn it on' >"$TMP/z/status"
ends 1 stats
says 'zcache: off: boot with'
ends 1 stats --json
json 'it["on"] is False and "\"zcache\"" in it["status"]'
ends 1 stats --prometheus
says 'zcache_up 0'

printf 'on\ncleancache: on\n' >"$TMP/z/status"
echo 0 >"$TMP/z/stored_pages"
ends 0 stats
says 'health: idle'
echo 3000 >"$TMP/z/stored_pages"
echo 2000 >"$TMP/z/frames"
echo 2048000 >"$TMP/z/metadata_bytes"
echo 1500 >"$TMP/z/pcd_count"
echo 2400 >"$TMP/z/dedup_pages"
echo 1.60 >"$TMP/z/dedup_ratio"
echo 5000 >"$TMP/z/eph_puts"
echo 4000 >"$TMP/z/eph_gets"
echo 3000 >"$TMP/z/eph_hits"
echo 5000 >"$TMP/z/pers_stored_pages"
echo 1500 >"$TMP/z/pers_frames"
echo '1 2 3' >"$TMP/z/zbud_unbuddied_list_counts"
ends 0 stats
says 'zcache: on; cleancache: on'
says 'health: good'
says '3.33  2.50 with metadata'
says '1.50  1.20 with metadata'
says '1.60 pages each'
says '75.0 % of those asked'
if awk 'length > 80 { long = 1 } END { exit !long }' "$TMP/said"; then
	fail 'a line is longer than 80 columns'
fi

ends 0 stats --json
json 'it["on"] and it["counters"]["eph_hits"] == 3000'
json 'it["eph_hit_percent"] == 75 and it["pages_per_frame"] == 1.5'
json 'it["dedup_ratio"] == 1.6'
json 'it["pers_hit_percent"] is None and "per_second" not in it'
json '"zbud_unbuddied_list_counts" not in it["counters"]'
ends 0 stats --prometheus
says '# TYPE zcache_stored_pages gauge'
says '# TYPE zcache_eph_hits counter'
says 'zcache_eph_hits 3000'

# What is there now is no counter, and has no rate. The names are those of the
# kernel's documentation, and of the tables there without these heads.
abi=$ROOT/Documentation/ABI/testing/sysfs-kernel-mm-zcache
now=$(awk '/^\t\tNow:/, /^\t\tSince/ { if (/^\t\t[a-z_]+\t/) print $1 }' \
	"$abi")
grown=$(awk '/^\t\tSince boot:/, /^What:/ { if (/^\t\t[a-z_]+\t/) print $1 }' \
	"$abi")
times=$(awk '/^\t\ttiming_/ { print $1 }' "$abi")
for percentile in $(printf '%s\n' "$times" | grep '_p[59]'); do
	now="$now $percentile"
done
for sum in $(printf '%s\n' "$times" | grep -v '_p[59]'); do
	grown="$grown $sum"
done
now="$now page_count page_count_max pgp_count pgp_count_max pcd_count
	pcd_count_max dedup_pages dedup_metadata_bytes zv_max_zsize
	zv_max_mean_zsize zv_page_count_policy_percent"
grown="$grown dedup_puts dedup_spared dedup_differed dedup_failed_alloc"
# shellcheck disable=SC2086
[ "$(printf '%s\n' $now | wc -l)" -gt 50 ] || fail "only: $now"
# shellcheck disable=SC2086
[ "$(printf '%s\n' $grown | wc -l)" -gt 60 ] || fail "only: $grown"
mv "$TMP/z" "$TMP/kept"
mkdir "$TMP/z"
echo on >"$TMP/z/status"
for name in $now $grown; do
	echo 7 >"$TMP/z/$name"
done
ends 0 stats --prometheus
for name in $now; do
	says "# TYPE zcache_$name gauge"
done
for name in $grown; do
	says "# TYPE zcache_$name counter"
done
ends 0 stats --interval 1 --count 1 --json
json "sorted(it['per_second']) == sorted('''$grown'''.split())"
rm -r "$TMP/z"
mv "$TMP/kept" "$TMP/z"

# The counters grow by 500 meanwhile.
(sleep 0.5 && echo 3500 >"$TMP/z/eph_hits") &
ends 0 stats --interval 1 --count 1
says '500.0/s'
(sleep 0.5 && echo 3600 >"$TMP/z/eph_hits") &
ends 0 stats --interval 1 --count 1 --json
json 'it["per_second"]["eph_hits"] == 100'
json '"frames" not in it["per_second"]'

# What is not well has a word.
health() {
	ends 0 stats
	says "health: $1"
}
echo 100 >"$TMP/z/eph_hits"
health useless
echo 1 >"$TMP/z/corrupt_pages"
health bad
echo 0 >"$TMP/z/corrupt_pages"
echo 3000 >"$TMP/z/eph_hits"
echo 2000 >"$TMP/z/allowed_frames"
health 'full: file pages'
echo 3000 >"$TMP/z/allowed_frames"
health good
# One frame short of 95 %, then as many.
echo 10000 >"$TMP/z/pers_limit_frames"
echo 9499 >"$TMP/z/pers_frames"
health good
echo 9500 >"$TMP/z/pers_frames"
health 'full: swapped pages'
echo 1000 >"$TMP/z/inode_death_pages"
health losing
echo 3000 >"$TMP/z/failed_get_free_pages"
health starved
echo 0 >"$TMP/z/failed_get_free_pages"
health losing
echo 1500 >"$TMP/z/refused_no_memory"
echo 1600 >"$TMP/z/pers_refused_no_memory"
health starved
[ "$(grep -c '  no memory for its index entry  *1[56]00' "$TMP/said")" -eq 2 ] ||
	fail 'both halves had no memory'
echo 9000 >"$TMP/z/failed_eph_puts"
echo 8000 >"$TMP/z/compress_poor"
health poor
