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

refuses 'free_mb() { case $1 in */cache) echo 500 ;; *) echo 99999 ;; esac; }' \
	'only 500 MB free for the cache'
refuses 'memory_dir() { echo /nowhere/at/all; }' 'there is no /nowhere/at/all'
refuses 'free_mb() { case $1 in /dev/shm) echo 64 ;; *) echo 99999 ;; esac; }' \
	'only 64 MB free in /dev/shm'
refuses 'may_exec() { return 1; }' 'programs may not run from /dev/shm'
refuses 'NEED_RAM_MB=99999999' 'of RAM available'
refuses 'uname() { echo riscv64; }' 'this is riscv64'
refuses 'CACHE="/a folder"' 'has a space or special character'
refuses 'wanted_packages() { echo no-such-package; }; id() { echo 1000; }
	sudo() { return 1; }' 'neither root nor sudo'
says 'apt-get install --no-install-recommends no-such-package'

not_a_tree() { KERNEL_SRC=/nowhere ZCACHE_CACHE=$TMP/cache2 ROOT=$ROOT \
	sh -euc '. "$ROOT/scripts/setup.sh"; kernel_source'; }
ends 2 not_a_tree
says 'KERNEL_SRC=/nowhere is not a folder'
