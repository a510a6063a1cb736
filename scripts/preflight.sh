# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034,SC2015,SC2016,SC2013
# One screen about this machine before anything is changed.
# Sourced after packages.sh.

# In the cache folder, of which both commands leave 4.2 GB full, and in / for the
# packages.
NEED_CACHE_GB=6
NEED_ROOT_GB=3
NEED_RAM_MB=2000
# The guest with RAM to spare has 512 MiB of it in one file; the eight of fsx, which
# run beside another, come to 450 with their disks.
NEED_SHM_MB=900
# What is downloaded: packages where apt cannot tell, the kernel's source, and
# what cargo fetches.
PACKAGES_MB=450
SOURCE_MB=165
CRATES_MB=30

# What a script needs besides wanted_packages.
EXTRA_PACKAGES=

# free_mb FOLDER: free space there, or in the nearest folder that exists.
free_mb() { df -Pm "$(nearest "$1")" | awk 'NR == 2 { print $4 }'; }

# nearest FOLDER: it, or the nearest one above it that exists.
nearest() {
	ne_dir=$1
	while [ ! -d "$ne_dir" ]; do
		ne_dir=$(dirname "$ne_dir")
	done
	say "$ne_dir"
}

# Whether two folders draw on the same free space.
same_disk() {
	[ "$(stat -c %d "$(nearest "$1")")" = "$(stat -c %d "$(nearest "$2")")" ]
}

# RAM that programs can have, in MB: the machine's, or less in a container.
ram_mb() {
	rm_free=$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo)
	for rm_file in /sys/fs/cgroup/memory.max \
		/sys/fs/cgroup/memory/memory.limit_in_bytes; do
		rm_max=$(cat "$rm_file" 2>/dev/null) || continue
		case $rm_max in
		*[!0-9]* | '') ;;
		*)
			rm_max=$((rm_max / 1048576))
			[ "$rm_max" -ge "$rm_free" ] || rm_free=$rm_max
			;;
		esac
	done
	say "$rm_free"
}

# Whether programs may be run from a folder.
may_exec() {
	me_probe=$(mktemp "$1/zcache-probe.XXXXXX" 2>/dev/null) || return 1
	cp /bin/true "$me_probe" && chmod 755 "$me_probe" && "$me_probe" 2>/dev/null
	me_rc=$?
	rm -f "$me_probe"
	return "$me_rc"
}

# Whether a process may trace its child, which is how a guest runs programs.
# perl-base is on every Debian; the numbers are those of x86-64: ptrace,
# PTRACE_TRACEME, WUNTRACED.
may_trace() {
	command -v perl >/dev/null || return 0
	perl -e '
		my $pid = fork() // exit 1;
		if (!$pid) {
			exit 1 if syscall(101, 0, 0, 0, 0) == -1;
			kill "STOP", $$;
			exit 0;
		}
		waitpid($pid, 2);
		# It has stopped, and is not reaped.
		exit 1 unless kill 0, $pid;
		kill "KILL", $pid;
		waitpid($pid, 0);
		exit 0'
}

# The setting that keeps a process from tracing its child.
trace_advice() {
	ta_scope=$(cat /proc/sys/kernel/yama/ptrace_scope 2>/dev/null) || ta_scope=0
	if [ "$ta_scope" -ge 3 ]; then
		say 'kernel.yama.ptrace_scope is 3, which only a reboot with a lower' \
			'setting changes'
	elif [ "$ta_scope" -eq 2 ] && [ "$(id -u)" -ne 0 ]; then
		say 'as root: sysctl kernel.yama.ptrace_scope=1'
	elif grep -q '^Seccomp:[[:space:]]*2' /proc/self/status; then
		say 'a seccomp filter forbids it: start the container with' \
			'--cap-add=SYS_PTRACE --security-opt seccomp=unconfined'
	else
		say 'allow ptrace for this user or container'
	fi
}

# The next step for a memory folder that does not fit.
shm_advice() {
	say "as root: mount -o remount,exec,size=1G $1 (in a container: start" \
		"it with --shm-size=1g); or set ZCACHE_TMPDIR= to a tmpfs"
}

# What apt would download for the missing packages, in MB; nothing if it has no
# package lists yet.
apt_mb() {
	# shellcheck disable=SC2086
	apt-get -qq --print-uris --no-install-recommends \
		-o Debug::NoLocking=1 install $MISSING 2>/dev/null |
		awk '{ bytes += $3 } END { if (bytes) print int(bytes / 1000000 + 1) }'
}

# Looks at the machine, without a word. Changes nothing.
look() {
	detect_distro
	# shellcheck disable=SC2046,SC2086
	find_missing $(wanted_packages) $EXTRA_PACKAGES
	PF_SHM=$(memory_dir)
	PF_RAM=$(ram_mb)
	PF_CACHE_FREE=$(free_mb "$CACHE")
	PF_ROOT_FREE=$(free_mb /)
	PF_SHM_FREE=$(free_mb "$PF_SHM")
	PF_NEED_CACHE=$((NEED_CACHE_GB * 1024))
	PF_NEED_ROOT=0
	PF_MB=$CRATES_MB
	if [ -n "$MISSING" ]; then
		PF_NEED_ROOT=$((NEED_ROOT_GB * 1024))
		pf_apt=$(apt_mb)
		PF_MB=$((PF_MB + ${pf_apt:-$PACKAGES_MB}))
	fi
	# The first figure, with two processors: 4 minutes of downloads, and 10 of
	# compiling.
	PF_MINUTES=$((4 + (20 + JOBS - 1) / JOBS))
	PF_TIME="about $PF_MINUTES minutes"
	if [ -e "$CACHE/src/current" ]; then
		# The source is there; two kernels may have to be built.
		PF_NEED_CACHE=3072
		PF_TIME='2 minutes once the kernel is built'
		[ -n "$MISSING" ] || PF_MB=0
	elif [ -z "${KERNEL_SRC:-}" ]; then
		PF_MB=$((PF_MB + SOURCE_MB))
	fi
}

# The screen.
show() {
	if [ -n "$MISSING" ]; then
		say "packages to install, with apt:"
		say "$MISSING" | fold -s -w 74 | sed 's/^/    /'
	elif [ "$DISTRO" = other ]; then
		say 'packages no apt here: the tools that are there'
	else
		say 'packages to install: none'
	fi
	if [ "$PF_MB" -gt 0 ]; then
		say "download about $PF_MB MB: packages, kernel source, crates"
	else
		say 'download nothing, unless something changed'
	fi
	say "cache    $CACHE: $((PF_CACHE_FREE / 1024)) GB free," \
		"$((PF_NEED_CACHE / 1024)) GB needed"
	pf_line="root     $((PF_ROOT_FREE / 1024)) GB free,"
	pf_line="$pf_line $((PF_NEED_ROOT / 1024)) GB needed"
	if [ "$PF_NEED_ROOT" -gt 0 ] && same_disk / "$CACHE"; then
		pf_line="$pf_line, and the cache is on the same disk"
	fi
	say "$pf_line"
	say "memory   $PF_SHM: $PF_SHM_FREE MB free, $NEED_SHM_MB MB needed"
	say "RAM      $PF_RAM MB available, $NEED_RAM_MB MB needed"
	say "time     $PF_TIME, with $JOBS processors"
}

# judge: exits with status 2, the cause and the next step if the machine is
# unfit.
judge() {
	plain_path "$ROOT"
	plain_path "$CACHE"
	plain_path "$PF_SHM"
	[ "$PF_CACHE_FREE" -ge "$PF_NEED_CACHE" ] || unfit \
		"only $PF_CACHE_FREE MB free for the cache in $CACHE" \
		"free $PF_NEED_CACHE MB there, or set ZCACHE_CACHE= elsewhere"
	[ "$PF_ROOT_FREE" -ge "$PF_NEED_ROOT" ] || unfit \
		"only $PF_ROOT_FREE MB free in / for the packages" \
		"free $PF_NEED_ROOT MB there"
	! same_disk / "$CACHE" ||
		[ "$PF_ROOT_FREE" -ge $((PF_NEED_ROOT + PF_NEED_CACHE)) ] || unfit \
		"only $PF_ROOT_FREE MB free for the packages and the cache together" \
		"free $((PF_NEED_ROOT + PF_NEED_CACHE)) MB, or set ZCACHE_CACHE="
	[ "$PF_RAM" -ge "$NEED_RAM_MB" ] || unfit \
		"only $PF_RAM MB of RAM available, $NEED_RAM_MB MB needed" \
		"stop something, or use a larger machine"
	[ -d "$PF_SHM" ] || unfit "there is no $PF_SHM" "$(shm_advice /dev/shm)"
	[ "$PF_SHM_FREE" -ge "$NEED_SHM_MB" ] || unfit \
		"only $PF_SHM_FREE MB free in $PF_SHM, where guests keep their RAM" \
		"$(shm_advice "$PF_SHM")"
	may_exec "$PF_SHM" || unfit \
		"programs may not run from $PF_SHM, where guests keep their RAM" \
		"$(shm_advice "$PF_SHM")"
	may_trace || unfit 'a process may not trace its child (ptrace) here' \
		"$(trace_advice)"
	[ "$DISTRO" != other ] || check_tools
	[ -z "$MISSING" ] || may_become_root
}

# The screen, then exit 2 with the cause if this machine is unfit.
preflight() {
	look
	show
	judge
}
