# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# ext4: every directed case, also with its guards out of order; then the
# exerciser, once to see what is served and once to compare what is not.
# guest: ram=96M disk=256M words=zcache,nofrontswap,zcache.admission=all
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh
# shellcheck source=tests/coherency/guest/lib.sh
. /run/src/tests/coherency/guest/lib.sh

make ext4
cases ext4 --mutate
cat "$GUARDS" >/tmp/guards
exercise ext4 400000 1
did write mmap-write direct-write aio-write io_uring-write torn-direct-write \
	truncate punch zero-range collapse insert allocate copy-range \
	move-extent recreate rename-over remount swapon fsync page-out read \
	mmap-read direct-read splice-read willneed-read
exercise ext4 40000 2 --verify --widen 64
# A dozen times in all, and at times never.
[ "$(drops dirty)" -gt 0 ] || exercise ext4 40000 3 --verify --widen 64
exerciser_needed remove_other unmap dirty insert truncate invalidate \
	dio_post dio_failed drop_caches inode in_dio
needed refused changed remove_failed remove_other unmap dirty insert truncate \
	truncate_empty invalidate invalidate_empty dio_post dio_async dio_failed \
	swapon swapoff drop_caches inode is_swapfile in_dio
remove ext4
needed super
