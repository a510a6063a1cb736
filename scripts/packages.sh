# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034,SC2015,SC2016,SC2013
# The machine: what it must have, what is missing, and how it gets there.
# Sourced after lib.sh.

MIN_RUST=1.85
MIN_BINDGEN=0.71.1
BINDGEN_PIN=0.73.2
# GB in the cache folder, of which both commands leave 4.2 full, and GB in /
# for the packages.
NEED_CACHE_GB=6
NEED_ROOT_GB=3
NEED_RAM_MB=2000
# The guest with RAM to spare has 512 MiB of it in one file.
NEED_SHM_MB=700

# newer_or_same HAVE WANT
newer_or_same() {
	[ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# version_of COMMAND: the first version number that it prints.
version_of() {
	"$@" --version 2>/dev/null | grep -oE '[0-9]+\.[0-9]+(\.[0-9]+)?' |
		head -n 1
}

# Sets DISTRO (debian12, apt, other) and the names that go with it.
detect_distro() {
	ID='' VERSION_ID=''
	# shellcheck disable=SC1091
	[ ! -r /etc/os-release ] || . /etc/os-release
	LLVM_SUFFIX=
	if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
		DISTRO=other
	elif [ "$ID:$VERSION_ID" = debian:12 ]; then
		DISTRO=debian12
		LLVM_SUFFIX=-19
	else
		DISTRO=apt
	fi
	if [ "$DISTRO" = other ] && ! command -v clang >/dev/null; then
		LLVM_SUFFIX=$(find /usr/bin -name 'clang-[0-9]*' |
			sed 's/.*clang//' | sort -V | tail -n 1)
	fi
}

# The packages that set-up needs, a line each.
wanted_packages() {
	cat <<-END
		bc
		bison
		ca-certificates
		dmsetup
		e2fsprogs
		erofs-utils
		flex
		gcc
		libc6-dev
		liblzo2-dev
		make
		patch
		perl
		python3
		squashfs-tools
		xfsprogs
		xorriso
		xz-utils
	END
	if [ "$DISTRO" = debian12 ]; then
		cat <<-END
			cargo-web
			clang-19
			libclang-19-dev
			lld-19
			llvm-19
			rust-web-clippy
			rust-web-src
			rustc-web
			rustfmt-web
		END
	else
		cat <<-END
			bindgen
			cargo
			clang
			libclang-dev
			lld
			llvm
			rust-clippy
			rust-src
			rustc
			rustfmt
		END
	fi
}

# Sets MISSING to the packages that are not installed.
find_missing() {
	MISSING=
	[ "$DISTRO" != other ] || return 0
	for fm_package in $(wanted_packages); do
		case $(dpkg-query -W -f '${Status}' "$fm_package" 2>/dev/null) in
		'install ok installed') ;;
		*) MISSING="$MISSING $fm_package" ;;
		esac
	done
	MISSING=${MISSING# }
}

# free_mb FOLDER: free space there, or in the nearest folder that exists.
free_mb() {
	fr_dir=$1
	while [ ! -d "$fr_dir" ]; do
		fr_dir=$(dirname "$fr_dir")
	done
	df -Pm "$fr_dir" | awk 'NR == 2 { print $4 }'
}

# Whether programs may be run from a folder.
may_exec() {
	me_probe=$(mktemp "$1/zcache-probe.XXXXXX" 2>/dev/null) || return 1
	cp /bin/true "$me_probe" && chmod 755 "$me_probe" && "$me_probe"
	me_rc=$?
	rm -f "$me_probe"
	return "$me_rc"
}

# The next step for a memory folder that does not fit.
shm_advice() {
	say "as root: mount -o remount,exec,size=1G $1 (in a container: start" \
		"it with --shm-size=1g); or set ZCACHE_TMPDIR= to a tmpfs"
}

# One screen about this machine, then exit 2 with the cause if it is unfit.
# Changes nothing.
preflight() {
	detect_distro
	find_missing
	pf_shm=$(memory_dir)
	pf_ram=$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo)
	pf_cache_free=$(free_mb "$CACHE")
	pf_root_free=$(free_mb /)
	pf_shm_free=$(free_mb "$pf_shm")
	pf_need_cache=$((NEED_CACHE_GB * 1024))
	pf_time='15 minutes'
	if [ -e "$CACHE/src/current" ]; then
		# The source is there; two kernels may have to be built.
		pf_need_cache=3072
		pf_time='2 minutes once the kernel is built'
	fi
	if [ -n "$MISSING" ]; then
		say "packages to install (apt, about 450 MB to download):"
		say "$MISSING" | fold -s -w 74 | sed 's/^/    /'
	else
		say 'packages to install: none'
	fi
	say "cache    $CACHE: $((pf_cache_free / 1024)) GB free," \
		"$((pf_need_cache / 1024)) GB needed"
	say "root     $((pf_root_free / 1024)) GB free; $pf_shm:" \
		"$pf_shm_free MB free, $NEED_SHM_MB MB needed"
	say "RAM      $pf_ram MB available, $NEED_RAM_MB MB needed"
	say "time     $pf_time, with $JOBS processors"

	plain_path "$ROOT"
	plain_path "$CACHE"
	plain_path "$pf_shm"
	[ "$(uname -m)" = x86_64 ] || unfit \
		"user-mode Linux runs on x86-64, this is $(uname -m)" \
		"run the codec's tests alone: cd rust/lzo && cargo test"
	[ "$pf_cache_free" -ge "$pf_need_cache" ] || unfit \
		"only $pf_cache_free MB free for the cache in $CACHE" \
		"free $pf_need_cache MB there, or set ZCACHE_CACHE= elsewhere"
	if [ -n "$MISSING" ] && [ "$pf_root_free" -lt $((NEED_ROOT_GB * 1024)) ]; then
		unfit "only $pf_root_free MB free in / for the packages" \
			"free $NEED_ROOT_GB GB there"
	fi
	[ "$pf_ram" -ge "$NEED_RAM_MB" ] || unfit \
		"only $pf_ram MB of RAM available, $NEED_RAM_MB MB needed" \
		"stop something, or use a larger machine"
	[ -d "$pf_shm" ] || unfit "there is no $pf_shm" "$(shm_advice /dev/shm)"
	[ "$pf_shm_free" -ge "$NEED_SHM_MB" ] || unfit \
		"only $pf_shm_free MB free in $pf_shm, where guests keep their RAM" \
		"$(shm_advice "$pf_shm")"
	may_exec "$pf_shm" || unfit \
		"programs may not run from $pf_shm, where guests keep their RAM" \
		"$(shm_advice "$pf_shm")"
	[ "$DISTRO" != other ] || check_tools
	[ -z "$MISSING" ] || become_root
}

# Sets AS_ROOT: the words that make apt-get root.
become_root() {
	AS_ROOT=
	[ "$(id -u)" -ne 0 ] || return 0
	AS_ROOT='sudo -n'
	[ ! -t 0 ] || AS_ROOT=sudo
	$AS_ROOT true 2>/dev/null || unfit \
		'packages are missing and there is neither root nor sudo' \
		"as root, run: apt-get install --no-install-recommends $MISSING"
}

# Without apt: the tools must be there already. Names all that are not.
check_tools() {
	ct_bad=
	for ct_tool in bc bison flex gcc make patch perl python3 xz mke2fs \
		dmsetup flock setsid "clang$LLVM_SUFFIX" "ld.lld$LLVM_SUFFIX" \
		"llvm-nm$LLVM_SUFFIX" rustc cargo; do
		command -v "$ct_tool" >/dev/null || ct_bad="$ct_bad $ct_tool"
	done
	if [ -z "$ct_bad" ] &&
		! newer_or_same "$(version_of rustc)" "$MIN_RUST"; then
		ct_bad=" rustc (at least $MIN_RUST)"
	fi
	[ -z "$ct_bad" ] || unfit "without apt, missing in $PATH:$ct_bad" \
		"install them, with the Rust library's sources and libclang"
}

# Installs what preflight found missing: all that root is ever asked for.
install_packages() {
	[ -n "$MISSING" ] || return 0
	mkdir -p "$CACHE"
	for ip_package in $MISSING; do
		printf '%s\n' "$ip_package"
	done >>"$CACHE/installed-packages"
	# sudo remembers a password for this session only.
	[ -z "$AS_ROOT" ] || SESSION=
	ip_apt='env DEBIAN_FRONTEND=noninteractive apt-get -q'
	# shellcheck disable=SC2086
	step 'package lists' apt-update.log $AS_ROOT $ip_apt update
	# shellcheck disable=SC2086
	step 'packages' apt-install.log $AS_ROOT $ip_apt install -y \
		--no-install-recommends $MISSING
	SESSION=setsid
	hash -r
}

# Sets RUSTC, BINDGEN and the like, once the packages are there.
find_toolchain() {
	RUSTC=/usr/bin/rustc
	CARGO=/usr/bin/cargo
	[ -x "$RUSTC" ] && [ -x "$CARGO" ] ||
		die "no $RUSTC or no $CARGO although their packages are installed" \
			"reinstall them"
	tc_have=$(version_of "$RUSTC")
	newer_or_same "$tc_have" "$MIN_RUST" ||
		die "$RUSTC is $tc_have, Linux 7.3 needs $MIN_RUST" \
			'use Debian 12 or newer with its current package lists'
	# Cargo's own downloads stay in the cache as well.
	CARGO_HOME=$CACHE/cargo-home
	CARGO_TARGET_DIR=$CACHE/target
	export RUSTC CARGO_HOME CARGO_TARGET_DIR
	LIBCLANG_PATH=
	if [ -n "$LLVM_SUFFIX" ]; then
		LIBCLANG_PATH=/usr/lib/llvm$LLVM_SUFFIX/lib
	fi
	# UML takes the large code model, for which clang 18 and later put all
	# data into sections that UML's linker script leaves outside .data and
	# .bss. Lockdep then takes static keys for freed memory and gives up. As
	# an option of the compiler proper, the small model of the vDSO minds not.
	SMALL_DATA=KCFLAGS=-Xclang=-mlarge-data-threshold=2147483647
	"clang$LLVM_SUFFIX" "${SMALL_DATA#*=}" -x c -fsyntax-only /dev/null \
		2>/dev/null || SMALL_DATA=KCFLAGS=
	BINDGEN=/usr/bin/bindgen
	if [ -x "$BINDGEN" ] &&
		newer_or_same "$(version_of "$BINDGEN")" "$MIN_BINDGEN"; then
		return 0
	fi
	BINDGEN=$CACHE/tools/bindgen-$BINDGEN_PIN/bin/bindgen
	[ ! -x "$BINDGEN" ] || return 0
	rm -rf "$CACHE/tools/new"
	step "bindgen $BINDGEN_PIN, by cargo" bindgen.log \
		"$CARGO" install --locked --root "$CACHE/tools/new" \
		--version "$BINDGEN_PIN" bindgen-cli
	mv "$CACHE/tools/new" "$CACHE/tools/bindgen-$BINDGEN_PIN"
}
