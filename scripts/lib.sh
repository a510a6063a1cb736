# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034,SC2015,SC2016,SC2013,SC2086
# Shared by every script here: messages, the cache folder, its lock, and steps
# that show life and leave no process behind. Sourced with ROOT set.

# Only the system's tools: a rustup, ccache or the like on the caller's PATH
# must not change what is built. Where apt cannot bring them, the caller's tools
# are all there is.
CALLER_PATH=$PATH
PATH=/usr/sbin:/usr/bin:/sbin:/bin
command -v apt-get >/dev/null || PATH=$PATH:$CALLER_PATH
LC_ALL=C
export PATH LC_ALL
unset RUSTFLAGS RUSTC RUSTC_WRAPPER RUSTUP_TOOLCHAIN CARGO_TARGET_DIR
unset CARGO_BUILD_TARGET MAKEFLAGS MFLAGS MAKELEVEL GNUMAKEFLAGS
unset ARCH CROSS_COMPILE LLVM CC KBUILD_OUTPUT CDPATH ENV
umask 022

CACHE=${ZCACHE_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/zcache}
LOG=$CACHE/log
JOBS=$(nproc 2>/dev/null || echo 2)
STARTED=$(date +%s)
RUNDIR=
UMLDIR=
CHILD=
CHILD_SH=
# What gives a step a session of its own.
SESSION=setsid
# Set while a step must not be cut short.
UNCUT=

# All that this starts and stores stays in these two folders.
OUT=$ROOT/out

say() { printf '%s\n' "$*"; }

# One line a stage, with the seconds since the script began.
stage() { printf '[%4ds] %s\n' "$(($(date +%s) - STARTED))" "$*"; }

# die CAUSE [NEXT-STEP]
die() {
	printf 'error: %s\n' "$1" >&2
	[ $# -lt 2 ] || printf 'next:  %s\n' "$2" >&2
	exit 1
}

# The machine or the command line is unfit: nothing was changed.
unfit() {
	printf 'error: %s\n' "$1" >&2
	[ $# -lt 2 ] || printf 'next:  %s\n' "$2" >&2
	exit 2
}

# Runs on every way out. A step runs in a session of its own, so that one
# signal reaches all it started.
cleanup() {
	trap - EXIT
	trap '' INT TERM HUP
	if [ -n "$CHILD_SH" ]; then
		# Scripts of ours: they end what they started.
		kill -TERM $CHILD_SH 2>/dev/null || :
		wait $CHILD_SH 2>/dev/null || :
	fi
	if [ -n "$CHILD" ] && [ -n "$UNCUT" ]; then
		say 'it ends when apt has ended, which must not be cut short' >&2
		wait "$CHILD" 2>/dev/null || :
	elif [ -n "$CHILD" ]; then
		kill -TERM "-$CHILD" 2>/dev/null || :
		for cl_try in 1 2 3 4 5 6 7 8 9 10; do
			kill -0 "-$CHILD" 2>/dev/null || break
			sleep 0.2
		done
		kill -KILL "-$CHILD" 2>/dev/null || :
	fi
	[ -z "$RUNDIR" ] || rm -rf "$RUNDIR"
	[ -z "$UMLDIR" ] || rm -rf "$UMLDIR"
}
trap cleanup EXIT
trap 'say interrupted >&2; cleanup; exit 130' INT
trap 'cleanup; exit 143' TERM HUP

# A path that make, the kernel command line and hostfs all take as one word.
plain_path() {
	case $1 in
	*[!A-Za-z0-9_./+@%-]*)
		unfit "the path '$1' has a space or special character in it" \
			"move it, or set ZCACHE_CACHE= for the cache folder"
		;;
	esac
}

# Opens the cache folder for this script alone, until it ends.
lock_cache() {
	mkdir -p "$CACHE" "$LOG" || unfit "cannot write to $CACHE" \
		"set ZCACHE_CACHE= to a folder that you may write to"
	CACHE=$(cd "$CACHE" && pwd -P)
	LOG=$CACHE/log
	# A script that this one started works under its lock.
	[ -z "${ZCACHE_LOCKED:-}" ] || return 0
	exec 9>"$CACHE/lock"
	if ! flock -n 9; then
		say "another run uses $CACHE: waiting for it to end"
		flock 9
	fi
	ZCACHE_LOCKED=1
	export ZCACHE_LOCKED
	sweep
}

# Compiled files so far, for the heartbeat of a build.
compiled() {
	grep -cE '^ +(CC|RUSTC|HOSTCC|HOSTRUSTC|LD|AR|BINDGEN)|^ +Compiling ' \
		"$1" 2>/dev/null || :
}

# spawn LOG COMMAND...: run a command with its output in a log and a line
# every 15 s; returns its status.
spawn() {
	sp_log=$1
	shift
	$SESSION "$@" >"$sp_log" 2>&1 </dev/null 9>&- &
	CHILD=$!
	sp_beat=0
	while kill -0 "$CHILD" 2>/dev/null; do
		sleep 0.2
		sp_beat=$((sp_beat + 1))
		if [ "$((sp_beat % 75))" -eq 0 ]; then
			sp_done=$(compiled "$sp_log")
			if [ "${sp_done:-0}" -gt 0 ]; then
				stage "  ... $sp_done files compiled"
			else
				stage "  ... still at it"
			fi
		fi
	done
	sp_rc=0
	wait "$CHILD" || sp_rc=$?
	CHILD=
	return "$sp_rc"
}

# The lines of a log that tell most about its failure.
show_failure() {
	grep -nE '(^|[^A-Za-z_])(error|Error|ERROR)[]:[ ]|FAILED|fatal|No space' "$1" |
		tail -n 12 | cut -c1-200 >&2 || :
	say '--- the last lines' >&2
	tail -n 8 "$1" | cut -c1-200 >&2
}

# step WHAT LOGNAME COMMAND...: a stage that must succeed.
step() {
	st_what=$1 st_log=$LOG/$2
	shift 2
	stage "$st_what"
	if spawn "$st_log" "$@"; then
		return 0
	fi
	show_failure "$st_log"
	die "failed: $st_what" "the whole log is $st_log"
}

# Folders for one run's own files, gone at its end: RUNDIR in memory, for what
# the guest has as RAM (a file that is mapped executable, so the place must allow
# that) and as disks; UMLDIR in the cache, for UML's sockets.
run_dir() {
	RUNDIR=$(mktemp -d "$(memory_dir)/zcache.XXXXXX")
	# Who has this lock is still there, whatever its number in which namespace.
	exec 8>"$RUNDIR/starting"
	flock 8
	mv "$RUNDIR/starting" "$RUNDIR/running"
}

# After run_dir, for who starts a guest.
uml_dir() {
	UMLDIR=$CACHE/uml/${RUNDIR##*/}
	mkdir -p "$UMLDIR"
}

# Removes what runs left behind that could not clean up (kill -9).
sweep() {
	for sw_dir in "$(memory_dir)"/zcache.*; do
		[ -e "$sw_dir/running" ] || continue
		! flock -n "$sw_dir/running" true ||
			rm -rf "$sw_dir" "$CACHE/uml/${sw_dir##*/}"
	done
}

memory_dir() { say "${ZCACHE_TMPDIR:-/dev/shm}"; }

# bad_kernel_lines CONSOLE: prints what a healthy kernel does not print; true
# if there was anything. Lines marked '| ' are the guest's own.
bad_kernel_lines() {
	grep -v '^| ' "$1" | grep -E -A 3 "$BAD_KERNEL"
}
BAD_DISK='(error|corruption) \(device|I/O error'
BAD_KERNEL='BUG:|WARNING:|Oops|KASAN:|UBSAN:|possible (circular|recursive)'
BAD_KERNEL="$BAD_KERNEL|inconsistent lock|INFO: (task|rcu|trying)"
BAD_KERNEL="$BAD_KERNEL|suspicious RCU|Kernel panic|Out of memory:|Call Trace"
BAD_KERNEL="$BAD_KERNEL|$BAD_DISK|Bad page"
BAD_KERNEL="$BAD_KERNEL|list_(add|del) corruption|sleeping function"

# bad_kernel_but PART: the same without a part of it, for guests in which that
# is meant to happen.
bad_kernel_but() {
	printf '%s' "$BAD_KERNEL" | awk -v part="$1" '{
		at = index($0, "|" part)
		print substr($0, 1, at - 1) substr($0, at + 1 + length(part))
	}'
}
