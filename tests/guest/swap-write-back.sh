# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# No slot is left: pages that are stored go to their slots of the device, while
# others are swapped in and out, shared, changed and freed. All come back right.
# guest: ram=96M disk=64M words=zcache
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh

# All slots but a few are in use once the set is swapped out.
mkswap /dev/ubda 15360 >/dev/null
swapon /dev/ubda
make_cgroup churn max
# This asks every shrinker, so the one that has pages written back.
(while sleep 0.05; do echo 2 >/proc/sys/vm/drop_caches; done) &
asker=$!
for children in 0 2; do
	before=$(counter pers_written_back)
	in_cgroup /run/bin/zcache-tools swapper --mib 16 --seconds 4 \
		--seed "1$children" --children "$children" \
		--reclaim "$CGROUP/memory.reclaim"
	held_only_in_use "after $children children at a time"
	holds 'pages were written back' \
		"$(counter pers_written_back)" -gt $((before + 200))
done
kill "$asker"
holds 'others were not' "$(counter pers_hits)" -gt 1000
holds 'pages came from the device' \
	"$(awk '/^pswpin/ { print $2 }' /proc/vmstat)" -gt 100
holds 'none was lost' "$(counter failed_pers_gets)" -eq 0
swapoff /dev/ubda
no_swapped_page 'after swapoff'
