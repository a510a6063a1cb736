# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# ext2, also with blocks smaller than a page. It lets a user set the
# generation of an inode.
# guest: ram=96M disk=256M words=zcache,nofrontswap,zcache.admission=all
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh
# shellcheck source=tests/coherency/guest/lib.sh
. /run/src/tests/coherency/guest/lib.sh

make ext2
cases ext2 --mutate
exercise ext2 150000 6
did write mmap-write direct-write torn-direct-write truncate recreate \
	set-generation
remove ext2
make ext2-1k
cases ext2-1k
exercise ext2-1k 20000 7 --verify --widen 64
remove ext2-1k
