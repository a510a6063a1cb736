# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# One in 16 compressed pages is damaged: each must be a miss.
# guest: ram=96M disk=256M words=zcache,nofrontswap,zcache.admission=all,zcache_corrupt
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh
# shellcheck source=tests/coherency/guest/lib.sh
. /run/src/tests/coherency/guest/lib.sh

make ext4
exercise ext4 60000 30
holds 'damage was found' "$(counter corrupt_pages)" -gt 100
remove ext4
