# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034
# What the coherency tests share. Sourced in the guest, after tests/guest/lib.sh.
PROGRAM=/run/bin/zcache-coherency
GUARDS=/sys/kernel/debug/cleancache/guards
mount -t cgroup2 none /sys/fs/cgroup

# make KIND: the file system of that name on the test's disk, mounted. What is
# special about it stands behind a dash.
make() {
	case $1 in
	ext4) mke2fs -q -F -t ext4 -N 4096 /dev/ubda ;;
	ext4-1k) mke2fs -q -F -t ext4 -b 1024 -N 4096 -O ^metadata_csum /dev/ubda ;;
	ext4-inline) mke2fs -q -F -t ext4 -I 256 -N 4096 -O inline_data /dev/ubda ;;
	ext4-journal) mke2fs -q -F -t ext4 -N 4096 /dev/ubda ;;
	ext2) mke2fs -q -F -t ext2 -b 4096 -N 4096 /dev/ubda ;;
	ext2-1k) mke2fs -q -F -t ext2 -b 1024 -N 4096 /dev/ubda ;;
	xfs) mkfs.xfs -q -f -m reflink=1 /dev/ubda ;;
	xfs-exchange)
		mkfs.xfs -q -f -m reflink=1 /dev/ubda
		"$PROGRAM" xfs-exchange /dev/ubda
		;;
	xfs-1k) mkfs.xfs -q -f -b size=1024 -m reflink=1 /dev/ubda ;;
	esac
	options=noatime
	case $1 in
	ext4-journal) options=noatime,data=journal ;;
	esac
	mount -t "${1%%-*}" -o "$options" /dev/ubda /run/mnt
	block=$(stat -f -c %S /run/mnt)
	mkdir /run/mnt/cases
}

# Pools of file systems: all but the one for swap, which is always there.
file_pools() {
	echo $(($(counter curr_pool_count) - 1))
}

# remove KIND: unmounts; then nothing may be left in zcache.
remove() {
	umount /run/mnt
	nothing_held "after umount of $1"
	holds "after umount of $1: no pool" "$(file_pools)" -eq 0
}

# cases KIND [--mutate]
cases() {
	cases_kind=$1
	shift
	"$PROGRAM" cases --root /run/mnt/cases --kind "$cases_kind" "$@" ||
		fail "cases on $cases_kind"
}

# exercise KIND PAGES SEED WORDS...
exercise() {
	ex_kind=$1 ex_pages=$2 ex_seed=$3
	shift 3
	"$PROGRAM" run --root /run/mnt --pages "$ex_pages" --seed "$ex_seed" \
		--seconds 60 --block "$block" "$@" >/tmp/said || {
		cat /tmp/said
		fail "the exerciser on $ex_kind, seed $ex_seed"
	}
	cat /tmp/said
	for ex_count in pages served; do
		sed -n -e "s/.*: \([0-9]*\) $ex_count verified.*/\1/p" \
			-e "s/.*, \([0-9]*\) of them $ex_count by.*/\1/p" /tmp/said \
			>"/tmp/$ex_count"
	done
	add pages "$(cat /tmp/pages)"
	add served "$(cat /tmp/served)"
}

# add NAME NUMBER: to a sum, which the host adds up over all tests.
add() {
	echo $(($(cat "/run/out/$1" 2>/dev/null || echo 0) + $2)) >"/tmp/sum"
	cat /tmp/sum >"/run/out/$1"
}

# did NAMES...: the last run of the exerciser did these operations.
did() {
	for did_name; do
		grep '^operations:' /tmp/said | grep -q " $did_name=[1-9]" ||
			fail "the exerciser did not $did_name"
	done
}

# needed GUARDS...: each had something to drop since boot.
needed() {
	"$PROGRAM" guards "$@" || fail 'a guard had nothing to do'
}

# drops GUARD: how often it had something to drop since the counts were kept as
# /tmp/guards.
drops() {
	echo $(($(sed -n "s/^$1 //p" "$GUARDS") - $(sed -n "s/^$1 //p" /tmp/guards)))
}

# exerciser_needed GUARDS...: each had something to drop since then.
exerciser_needed() {
	for en_name; do
		holds "the exerciser needed $en_name" "$(drops "$en_name")" -gt 0
	done
}

# fsx_settings KIND: what fsx can do on it, as /tmp/fsx.toml.
fsx_settings() {
	fs_out='no such line'
	case $1 in
	ext2*) fs_out=punch_hole ;;
	esac
	grep -v "^$fs_out = " /run/src/tests/coherency/fsx.toml >/tmp/fsx.toml
}
