# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# What "make shell" and "make stats" have running in their guests: pages go to
# zcache and come back, and the results folder has the counters.
# guest: ram=96M disk=256M words=zcache
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh

make_fs
real_bytes 110M >/run/mnt/file
sync
sh /run/src/scripts/guest-pressure 5
holds 'pages were put' "$(counter eph_puts)" -gt 1000
holds 'lookups hit' "$(counter eph_hits)" -gt 100
holds 'the counters are shown' \
	"$(grep -cE '^(zcache: on|health: |  gets served .*/s)' /run/out/stats)" -eq 3
umount /run/mnt
