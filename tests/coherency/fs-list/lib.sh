# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# The suites of tests/fs.list, each result a line of /run/out/results. The host
# boots this with zcache (on.sh) and without (off.sh), and compares.
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh
# shellcheck source=tests/coherency/guest/lib.sh
. /run/src/tests/coherency/guest/lib.sh

: >/run/out/results
while read -r kind suite; do
	case $kind in
	'' | '#'*) continue ;;
	esac
	make "$kind"
	verdict=passed
	case $suite in
	cases)
		"$PROGRAM" cases --stock --root /run/mnt/cases \
			--kind "$kind" >/tmp/said || verdict=failed
		sed -n 's/^\([okFAIL]*: .*\): [a-z].*/\1/p' /tmp/said >>/run/out/results
		;;
	exerciser)
		"$PROGRAM" run --root /run/mnt --pages 20000 --seconds 30 \
			--seed 77 --block "$block" >/tmp/said || verdict=failed
		;;
	fsx)
		fsx_settings "$kind"
		/run/bin/fsx -q -S 78 -N 2000 -P /tmp -f /tmp/fsx.toml \
			/run/mnt/fsx >/tmp/said 2>&1 || verdict=failed
		;;
	*) fail "tests/fs.list: no suite is called $suite" ;;
	esac
	[ "$verdict" = passed ] || cat /tmp/said
	echo "$kind $suite: $verdict" >>/run/out/results
	umount /run/mnt
done </run/src/tests/fs.list
cat /run/out/results
# Both must be what they say: on with many hits, off with nothing there.
if [ "$ZCACHE" = on ]; then
	holds 'zcache is on: pages were served' "$(counter eph_hits)" -gt 2000
else
	holds 'zcache is off' ! -e "$Z/eph_hits"
fi
