# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# The guest's part of tests/coherency/long.
suite=$1 kinds=$2 many=$3 seed=$4
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh
# shellcheck source=tests/coherency/guest/lib.sh
. /run/src/tests/coherency/guest/lib.sh

[ "$kinds" != all ] ||
	kinds=ext4,ext4-1k,ext4-inline,ext4-journal,ext2,ext2-1k,xfs,xfs-1k
kinds=$(echo "$kinds" | tr ',' ' ')

case $suite in
exerciser)
	make "$kinds"
	"$PROGRAM" run --root /run/mnt --pages "${many:-100000000}" \
		--seconds 80000 --seed "$seed" --block "$block"
	remove "$kinds"
	;;
fsx)
	# shellcheck disable=SC2086
	part=$((${many:-3600} / $(printf '%s\n' $kinds | wc -l)))
	for kind in $kinds; do
		make "$kind"
		hits=$(counter eph_hits) rounds=0
		start=$(cut -d . -f 1 /proc/uptime)
		while :; do
			took=$(($(cut -d . -f 1 /proc/uptime) - start))
			[ $took -lt $part ] || break
			fsx_round "$kind" "$seed" 20000
			rounds=$((rounds + 1)) seed=$((seed + 1))
		done
		served=$(($(counter eph_hits) - hits))
		remove "$kind"
		echo "fsx on $kind: $rounds seeds, the last $((seed - 1))," \
			"$((rounds * 20000)) steps in $took s," \
			"$served pages served by zcache, none wrong"
		holds "fsx on $kind: pages were served" $served -gt $((rounds * 50))
	done
	;;
esac
"$PROGRAM" guards remove_other dirty insert truncate || :
cat /sys/kernel/debug/cleancache/guards /sys/kernel/debug/cleancache/verified
