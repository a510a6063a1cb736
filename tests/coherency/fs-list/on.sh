# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034
# tests/fs.list with zcache on.
# guest: ram=96M disk=400M words=zcache,nofrontswap,zcache.admission=all
ZCACHE=on
# shellcheck source=tests/coherency/fs-list/lib.sh
. /run/src/tests/coherency/fs-list/lib.sh
