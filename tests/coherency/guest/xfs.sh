# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# XFS, with shared blocks and exchanged ranges.
# guest: ram=96M disk=400M words=zcache,nofrontswap,zcache.admission=all
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh
# shellcheck source=tests/coherency/guest/lib.sh
. /run/src/tests/coherency/guest/lib.sh

make xfs
cases xfs --mutate
exercise xfs 300000 3
did write mmap-write direct-write aio-write io_uring-write torn-direct-write \
	truncate punch zero-range collapse insert allocate copy-range reflink \
	recreate rename-over remount fsync page-out read
exercise xfs 30000 4 --verify --widen 64
remove xfs
make xfs-1k
cases xfs-1k
exercise xfs-1k 30000 5
remove xfs-1k
make xfs-exchange
cases xfs-exchange --mutate --only exchange
exercise xfs-exchange 30000 8
did exchange
remove xfs-exchange
