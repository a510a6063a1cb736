# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# A disk that fails reads and writes now and then (dm-flakey), or in part
# (dm-error), while one in 16 compressed pages is damaged: what is read must be
# what the disk has. ext4 without a journal, since one error in a journal ends
# all. No failing writes for ext2: without zcache as well, its page cache then
# holds what the disk does not, and the kernel warns of bitmaps.
# guest: ram=96M disk=192M words=zcache,nofrontswap,zcache.admission=all,zcache_corrupt errors=wanted
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh
# shellcheck source=tests/coherency/guest/lib.sh
. /run/src/tests/coherency/guest/lib.sh

sectors=$(cat /sys/block/ubda/size)
# table WORDS...: for dmsetup. "broken": of each 8 MiB of the disk, 2 fail. "whole": none has. Else, dm-flakey works each other second.
table() {
	case $1 in
	whole) echo "0 $sectors linear /dev/ubda 0" ;;
	broken)
		# Behind what mke2fs puts at the beginning.
		echo "0 32768 linear /dev/ubda 0"
		at=32768
		while [ $at -lt "$sectors" ]; do
			echo "$at 12288 linear /dev/ubda $at"
			echo "$((at + 12288)) 4096 error"
			at=$((at + 16384))
		done
		;;
	*) echo "0 $sectors flakey /dev/ubda 0 1 1 $# $*" ;;
	esac
}

# start TYPE WORDS...: a file system of that type on such a disk.
start() {
	st_type=$1
	shift
	mke2fs -q -F -t "$st_type" -O ^has_journal -N 4096 /dev/ubda
	table "$@" | dmsetup create bad --noudevsync
	dmsetup mknodes
	until mount -t "$st_type" -o noatime,errors=continue \
		/dev/mapper/bad /run/mnt; do sleep 0.3; done
	block=4096
}

# Below the mounted file system, breaks the disk in part and mends it.
break_and_mend() {
	while :; do
		for bm_table in broken whole; do
			sleep 0.4
			table $bm_table | dmsetup load bad
			dmsetup suspend --nolockfs bad
			dmsetup resume --noudevsync bad
		done
	done
}

# run_on TYPE WORDS...: the exerciser on it, of whose operations some must fail.
run_on() {
	start "$@"
	case $2 in
	whole)
		break_and_mend &
		breaker=$!
		;;
	esac
	# On a busy machine five seconds may hardly meet a broken disk.
	for try in 1 2 3 4 5 6; do
		exercise "$*" 0 "$seed" --seconds 5 --errors --workers 1
		seed=$((seed + 1))
		! grep '^operations:' /tmp/said | grep -q ' failures=[1-9]' ||
			break
	done
	if [ -n "$breaker" ]; then
		kill "$breaker"
		wait "$breaker" 2>/dev/null || :
		breaker=
		# It may have been ended between the two.
		dmsetup resume --noudevsync bad
	fi
	grep '^operations:' /tmp/said | grep -q ' failures=[1-9]' ||
		fail "no operation failed on $* in $try runs"
	! grep '^operations:' /tmp/said | grep -q ' swapon=[1-9]' ||
		fail "the kernel's own memory was on $*"
	umount /run/mnt
	dmsetup remove bad
	nothing_held "after umount of $*"
}

seed=20 breaker=
run_on ext4 error_writes
run_on ext4 error_reads
run_on ext4 error_writes error_reads
run_on ext2 error_reads
# A table that is swapped: dm-error.
run_on ext4 whole
needed had_error
holds 'damage was found' "$(counter corrupt_pages)" -gt 100

# The guard against what was written but not to the disk, out of order: the
# exerciser must find that.
echo had_error >/sys/module/cleancache/parameters/skip_guards
start ext4 error_writes
if "$PROGRAM" run --root /run/mnt --errors --workers 1 --seconds 20 --seed 24 \
	>/tmp/said; then
	fail 'the exerciser passed without the guard had_error'
fi
grep -m 1 '^WRONG' /tmp/said || fail 'the exerciser failed for another reason'
