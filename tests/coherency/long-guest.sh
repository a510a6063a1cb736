# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# The guest's part of tests/coherency/long.
suite=$1 kind=$2 many=$3 seed=$4
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh
# shellcheck source=tests/coherency/guest/lib.sh
. /run/src/tests/coherency/guest/lib.sh

make "$kind"
case $suite in
exerciser)
	"$PROGRAM" run --root /run/mnt --pages "${many:-100000000}" \
		--seconds 80000 --seed "$seed" --block "$block"
	;;
fsx)
	fsx_settings "$kind"
	: >/run/mnt/fsx
	"$PROGRAM" evict --every-ms 5 /run/mnt/fsx &
	evict=$!
	trap 'kill "$evict" 2>/dev/null || :' EXIT
	/run/bin/fsx -q -S "$seed" -N "${many:-1000000}" -P /tmp \
		-f /tmp/fsx.toml /run/mnt/fsx
	kill "$evict" 2>/dev/null || :
	wait "$evict" || :
	echo "served by zcache: $(counter eph_hits) pages"
	;;
*) fail "no suite is called $suite" ;;
esac
remove "$kind"
"$PROGRAM" guards remove_other dirty insert truncate || :
cat /sys/kernel/debug/cleancache/guards
