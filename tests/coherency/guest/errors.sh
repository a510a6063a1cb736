# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# A disk that fails reads and writes now and then: what is read must be what
# the disk has. ext4 without a journal, since one error in a journal ends all.
# No failing writes for ext2: without zcache as well, its page cache then holds
# what the disk does not, and the kernel warns of bitmaps.
# guest: ram=96M disk=192M time=120 words=zcache,nofrontswap,zcache.admission=all errors=wanted
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh
# shellcheck source=tests/coherency/guest/lib.sh
. /run/src/tests/coherency/guest/lib.sh

sectors=$(cat /sys/block/ubda/size)
# flaky UP DOWN WORDS...: a disk that works for UP seconds of each UP + DOWN.
flaky() {
	up=$1 down=$2
	shift 2
	dmsetup create flaky --noudevsync --table \
		"0 $sectors flakey /dev/ubda 0 $up $down $# $*"
	dmsetup mknodes
}

seed=20
for words in error_writes error_reads 'error_writes error_reads'; do
	for type in ext4 ext2; do
		case $type:$words in
		ext2:*writes*) continue ;;
		esac
		mke2fs -q -F -t $type -O ^has_journal -N 4096 /dev/ubda
		# shellcheck disable=SC2086
		flaky 1 1 $words
		until mount -t $type -o noatime,errors=continue \
			/dev/mapper/flaky /run/mnt; do sleep 0.3; done
		block=4096
		exercise "$type, $words" 0 $seed --seconds 5 --errors --workers 1
		seed=$((seed + 1))
		grep '^operations:' /tmp/said | grep -q ' failures=[1-9]' ||
			fail "no operation failed with $words"
		umount /run/mnt
		dmsetup remove flaky
		nothing_held "after umount of $type with $words"
	done
done
needed had_error

# The guard against what was written but not to the disk, out of order: the
# exerciser must find that.
mke2fs -q -F -t ext4 -O ^has_journal -N 4096 /dev/ubda
echo had_error >/sys/module/cleancache/parameters/skip_guards
flaky 1 1 error_writes
until mount -t ext4 -o noatime,errors=continue /dev/mapper/flaky /run/mnt; do
	sleep 0.3
done
if "$PROGRAM" run --root /run/mnt --errors --workers 1 --seconds 20 --seed 24 \
	>/tmp/said; then
	fail 'the exerciser passed without the guard had_error'
fi
grep -m 1 '^WRONG' /tmp/said || fail 'the exerciser failed for another reason'
