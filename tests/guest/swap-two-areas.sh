# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Two areas, a small one of higher priority: pages of equal slots are not
# mixed up, and swapoff of one leaves the other's alone.
# guest: ram=64M disk=192M words=zcache
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh

# Both halves of the disk, as two: 32 MiB and the rest.
small=65536 all=$(cat /sys/block/ubda/size)
dmsetup create --noudevsync first --table "0 $small linear /dev/ubda 0"
dmsetup create --noudevsync second \
	--table "0 $((all - small)) linear /dev/ubda $small"
make_swap /dev/dm-0 -p 10
make_swap /dev/dm-1 -p 5
/run/bin/zcache-tools swapper --mib 90 --seconds 6 --seed 4 &
load=$!
# used AREA: KiB of it.
used() { awk -v area="$1" '$1 ~ area { print $4 }' /proc/swaps; }
for _ in $(seq 150); do
	[ "$(used dm-1)" -le 8000 ] || break
	sleep 0.2
done
cat /proc/swaps
holds 'the small one is full' \
	"$(awk '/dm-0/ { print ($4 * 100 / $3 > 90) }' /proc/swaps)" -eq 1
holds 'the other one is in use' "$(used dm-1)" -gt 8000
swapoff /dev/dm-0 || fail 'swapoff of one of two'
before=$(counter pers_stored_pages)
holds 'pages of the other one are still held' "$before" -gt 0
swapon -p 10 /dev/dm-0
wait $load || fail 'the load found a wrong page'
held_only_in_use 'after the process'
holds 'none was lost' "$(counter failed_pers_gets)" -eq 0
swapoff -a
no_swapped_page 'after swapoff'
