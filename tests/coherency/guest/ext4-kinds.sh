# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# ext4 with data=journal, with data in the inode, with blocks smaller than a
# page.
# guest: ram=96M disk=256M words=zcache,nofrontswap,zcache.admission=all
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh
# shellcheck source=tests/coherency/guest/lib.sh
. /run/src/tests/coherency/guest/lib.sh

seed=10
for kind in ext4-1k ext4-inline ext4-journal; do
	make $kind
	cases $kind
	exercise $kind 40000 $seed
	remove $kind
	seed=$((seed + 1))
done
make ext4-inline
cases ext4-inline --mutate --only inline
remove ext4-inline
