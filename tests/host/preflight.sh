#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck disable=SC2016
#
# An unfit machine is refused with status 2, the cause and the next step,
# before anything is installed or written.
# shellcheck source=tests/host/lib.sh
. "$(dirname "$0")/lib.sh"

# preflight_with OVERRIDE: the preflight, with one fact about the machine
# replaced.
preflight_with() {
	env -u ZCACHE_LOCKED ZCACHE_CACHE="$TMP/cache" ROOT="$ROOT" sh -euc '
		. "$ROOT/scripts/setup.sh"
		eval "$1"
		begin test
		echo it went on' sh "$1"
}

refuses() {
	ends 2 preflight_with "$1"
	says "$2"
	says 'next:'
	! grep -q 'it went on' "$TMP/said" || fail 'it went on'
	! [ -e "$TMP/cache" ] || fail 'it made the cache folder'
}

# Disks of their own, the same, and both too small together.
refuses 'free_mb() { case $1 in */cache) echo 500 ;; *) echo 99999 ;; esac; }' \
	'only 500 MB free for the cache'
refuses 'free_mb() { case $1 in /) echo 500 ;; *) echo 99999 ;; esac; }
	wanted_packages() { echo no-such-package; }' \
	'only 500 MB free in / for the packages'
refuses 'free_mb() { echo 7000; }; same_disk() { true; }
	wanted_packages() { echo no-such-package; }' \
	'only 7000 MB free for the packages and the cache together'
refuses 'memory_dir() { echo /nowhere/at/all; }' 'there is no /nowhere/at/all'
refuses 'free_mb() { case $1 in /dev/shm) echo 64 ;; *) echo 99999 ;; esac; }' \
	'only 64 MB free in /dev/shm'
refuses 'may_exec() { return 1; }' 'programs may not run from /dev/shm'
says 'remount,exec'
refuses 'may_trace() { return 1; }' 'may not trace its child'
refuses 'NEED_RAM_MB=99999999' 'of RAM available'
refuses 'CACHE="/a folder"' 'has a space or special character'
refuses 'wanted_packages() { echo no-such-package; }; id() { echo 1000; }
	sudo() { return 1; }' 'neither root nor sudo'
says 'apt-get install --no-install-recommends no-such-package'

# Without apt: what is missing or too old, and the versions that would do.
# Nothing in /usr/bin is newer than tomorrow.
refuses 'detect_distro() { DISTRO=other LLVM_SUFFIX=; }
	MIN_LLVM=999.9; MIN_RUST=999.9; dmsetup() { :; }' \
	'no apt here, and missing:'
says 'clang 999.9'
says 'rustc and cargo 999.9'

# A folder with a space in its path, for real.
mkdir "$TMP/a folder"
cp -r "$ROOT/scripts" "$TMP/a folder/"
for script in run test doctor; do
	ends 2 env ZCACHE_CACHE="$TMP/cache" sh "$TMP/a folder/scripts/$script"
	says "the path '$TMP/a folder' has a space"
done

# Memory from which nothing may run, and too little of it, for real.
tmpfs_with() {
	unshare -rm sh -euc '
		mount -t tmpfs -o "$1" tmpfs /mnt
		ZCACHE_TMPDIR=/mnt ZCACHE_CACHE=$2 sh "$3/scripts/doctor"' \
		sh "$1" "$TMP/cache" "$ROOT"
}
if unshare -rm mount -t tmpfs tmpfs /mnt 2>/dev/null; then
	ends 2 tmpfs_with size=900M,noexec
	says 'programs may not run from /mnt'
	ends 2 tmpfs_with size=100M
	says 'only 100 MB free in /mnt'
fi

# What is on the screen fits it.
ends 0 preflight_with 'find_toolchain() { :; }'
for word in packages download cache root memory RAM time; do
	grep -q "^$word " "$TMP/said" || fail "nothing about $word"
done
rm -rf "$TMP/cache"
if awk 'length > 80 { long = 1 } END { exit !long }' "$TMP/said"; then
	fail 'a line is longer than 80 columns'
fi

# Another architecture: the codec's tests; their result for scripts/test, 2 for
# what needs a guest.
elsewhere_with() {
	env -u ZCACHE_LOCKED ZCACHE_CACHE="$TMP/cache" ROOT="$ROOT" sh -euc '
		. "$ROOT/scripts/setup.sh"
		uname() { echo riscv64; }
		codec_packages() { :; }
		find_rust() { CARGO=cargo CARGO_TARGET_DIR=$CACHE/target; }
		spawn() {
			printf "test a ... ok\ntest b ... %s\n" "$RESULT" >"$1"
			[ "$RESULT" = ok ]
		}
		RESULT=$1
		begin title
		echo it went on' "$2" "$1"
}
ends 0 elsewhere_with ok scripts/test
says 'this is riscv64: no guests here'
says 'QEMU'
says '2 passed, 0 failed'
ends 1 elsewhere_with FAILED scripts/test
says '1 passed, 1 failed'
ends 2 elsewhere_with ok scripts/run
says '2 passed, 0 failed'
says 'no guests on riscv64'
