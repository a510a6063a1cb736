# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Without the boot word nothing is registered and sysfs says how to change it.
# guest: ram=96M disk=128M
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh

holds 'sysfs holds one file' "$(echo "$Z"/*)" = "$Z/status"
holds 'status says off' "$(sed -n 's/^\(off\).*/\1/p' "$Z/status")" = off
grep -q 'boot with' "$Z/status" || fail 'status does not say what to do'
for half in cleancache frontswap; do
	word=/sys/module/zcache/parameters/$half
	for to in on off; do
		! echo $to | dd of=$word 2>/tmp/error ||
			fail "$half: $to was taken"
		grep -q 'No such device' /tmp/error || fail "$(cat /tmp/error)"
	done
	holds "$half is off" "$(cat $word)" = off
	dmesg | grep -q "$half cannot be switched, as zcache is off" ||
		fail 'no line in the log'
done
make_fs
real_bytes 100M >/run/mnt/file
sync
cat /run/mnt/file >/dev/null
holds 'still one file' "$(echo "$Z"/*)" = "$Z/status"
# Lines for those who read meminfo, but none for those who have an OOM kill.
for line in Zcache Zcached; do
	holds "$line" "$(awk -v name="$line:" '$1 == name { print $2 }' \
		/proc/meminfo)" -eq 0
done
echo m >/proc/sysrq-trigger
dmesg | grep -q 'pages RAM' || fail 'no dump of memory'
! dmesg | grep 'pages zcache' || fail 'a dump of memory tells of zcache'
holds 'no folder in debugfs' ! -e /sys/kernel/debug/zcache
sh /run/src/scripts/zcache-stats && fail 'zcache-stats calls it on'
umount /run/mnt
