# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# With nocleancache the page-cache half stays off: no page is stored.
# guest: ram=96M disk=128M words=zcache,nocleancache
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh

grep -q 'cleancache: off' "$Z/status" || fail "status: $(cat "$Z/status")"
make_fs
real_bytes 100M >/run/mnt/file
sync
cat /run/mnt/file >/dev/null
cat /run/mnt/file >/dev/null
if [ -e "$Z/eph_puts" ]; then
	holds 'no page was stored' "$(counter eph_puts)" -eq 0
fi
umount /run/mnt
