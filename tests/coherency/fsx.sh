# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034,SC2086
# fsx for two minutes, all kinds of file system together, with one in 16
# compressed pages damaged. scripts/coherency.sh runs it beside the other tests.
# An hour of it: tests/coherency/long.
# guest: ram=96M disk=400M time=300 words=zcache,nofrontswap,zcache.admission=all,zcache_corrupt
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh
# shellcheck source=tests/coherency/guest/lib.sh
. /run/src/tests/coherency/guest/lib.sh

SEED=1
fsx_for "${FSX_SECONDS:-120}" 5000 $FSX_KINDS
# All that fsx can reach: it has no direct I/O, swap files or inodes in plenty.
needed remove_failed remove_other dirty insert truncate super
holds 'damage was found' "$(counter corrupt_pages)" -gt 100
