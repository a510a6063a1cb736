# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# No slot is left, and the device fails: what cannot be written back stays in
# memory, all pages come back right, and the device is soon left alone.
# guest: ram=96M disk=64M words=zcache
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh

# There is no udev here: dm's node is /dev/dm-0.
dmsetup create --noudevsync swap --table \
	"0 $(cat /sys/block/ubda/size) linear /dev/ubda 0"
# All slots but a few are in use once the set is swapped out.
mkswap /dev/dm-0 15360 >/dev/null
swapon /dev/dm-0
dmsetup suspend --nolockfs --noflush --noudevsync swap
echo "0 $(cat /sys/block/ubda/size) error" |
	dmsetup load swap
dmsetup resume --noudevsync swap
make_cgroup churn max
# This asks every shrinker, so the one that has pages written back.
(while sleep 0.05; do echo 2 >/proc/sys/vm/drop_caches; done) &
asker=$!
in_cgroup /run/bin/zcache-tools swapper --mib 16 --seconds 4 --seed 10 \
	--reclaim "$CGROUP/memory.reclaim"
kill "$asker"
held_only_in_use 'after the churn'
holds 'pages were to be written back' "$(counter pers_written_back)" -gt 0
# One whole batch ends it. In another one, a page may be swapped in meanwhile.
holds 'the device was left alone' "$(counter pers_written_back)" -le 128
holds 'others were not' "$(counter pers_hits)" -gt 1000
holds 'none was lost' "$(counter failed_pers_gets)" -eq 0
holds 'none came from the device' \
	"$(awk '/^pswpin/ { print $2 }' /proc/vmstat)" -eq 0
swapoff /dev/dm-0
no_swapped_page 'after swapoff'
