# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# 9p stays out: others change its files, and nobody tells. Served by diod, in the
# guest, from an ext4 that takes part.
# guest: ram=96M disk=256M words=zcache,nofrontswap,zcache.admission=all
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh
# shellcheck source=tests/coherency/guest/lib.sh
. /run/src/tests/coherency/guest/lib.sh

[ -x /run/bin/9p/diod ] ||
	fail "no diod: what apt said is test-diod.log in the cache's folder 'log'"
make ext4
real_bytes 4M >/run/mnt/file
sync
# Its own pool comes with the first page that is read.
echo 1 >/proc/sys/vm/drop_caches
LD_LIBRARY_PATH=/run/bin/9p /run/bin/9p/diod -f -n -N -c /dev/null -L stderr \
	-e /run/mnt -l /tmp/9p.socket &
diod=$!
for try in 1 2 3 4 5 6 7 8 9 10; do
	[ ! -S /tmp/9p.socket ] || break
	sleep 0.2
done
mkdir /tmp/9p
# With a cache, also of files without a version: else there is no page to evict.
mount -t 9p -o trans=unix,version=9p2000.L,uname=root,aname=/run/mnt \
	-o cache=loose,ignoreqv /tmp/9p.socket /tmp/9p ||
	fail "no 9p after try $try"
cmp /tmp/9p/file /run/mnt/file
"$PROGRAM" out /tmp/9p/file || fail '9p went in'
holds 'one pool, of the server below' "$(file_pools)" -eq 1
umount /tmp/9p
kill "$diod"
wait "$diod" || :
remove ext4
