# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034,SC2015,SC2016,SC2013
# The tools: which packages bring them, which are missing, how they get there,
# and which ones are used.
# Sourced after lib.sh.

MIN_RUST=1.85
MIN_BINDGEN=0.71.1
MIN_LLVM=17.0.1
BINDGEN_PIN=0.73.2

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
	if [ "$DISTRO" = other ] &&
		! newer_or_same "$(version_of clang)" "$MIN_LLVM"; then
		LLVM_SUFFIX=$(find /usr/bin -name 'clang-[0-9]*' |
			sed 's/.*clang//' | sort -V | tail -n 1)
	fi
}

# The packages that the codec's tests need, a line each.
codec_packages() {
	cat <<-END
		gcc
		libc6-dev
		liblzo2-dev
	END
	if [ "$DISTRO" = debian12 ]; then
		say cargo-web
		say rustc-web
	else
		say cargo
		say rustc
	fi
}

# The packages that scripts/lint needs besides, a line each.
lint_packages() {
	cat <<-END
		python3-docutils
		shellcheck
	END
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

# find_missing PACKAGE...: sets MISSING to those that are not installed.
find_missing() {
	MISSING=
	[ "$DISTRO" != other ] || return 0
	for fm_package in "$@"; do
		case $(dpkg-query -W -f '${Status}' "$fm_package" 2>/dev/null) in
		'install ok installed') ;;
		*) MISSING="$MISSING $fm_package" ;;
		esac
	done
	MISSING=${MISSING# }
}

# Without root or a way to it, nothing can be installed. Asks for no password.
may_become_root() {
	[ "$(id -u)" -ne 0 ] || return 0
	if command -v sudo >/dev/null; then
		! sudo -n true 2>/dev/null || return 0
		# It can ask for a password here.
		[ ! -t 0 ] || return 0
	fi
	unfit 'packages are missing and there is neither root nor sudo' \
		"as root, run: apt-get install --no-install-recommends $MISSING"
}

# need TOOL VERSION [NAME]: notes a tool that is missing or too old.
need() {
	if ! command -v "$1" >/dev/null; then
		NEEDED="$NEEDED, ${3:-$1}"
		[ "$2" = 0 ] || NEEDED="$NEEDED $2"
	elif [ "$2" != 0 ]; then
		nd_have=$(version_of "$1")
		newer_or_same "${nd_have:-0}" "$2" ||
			NEEDED="$NEEDED, ${3:-$1} $2 (this is ${nd_have:-unknown})"
	fi
}

# Without apt: the tools must be there already. Names all that are not, each
# with the least version that does.
check_tools() {
	NEEDED=
	for ct_tool in bc patch perl xz mke2fs dmsetup flock setsid gcc; do
		need "$ct_tool" 0
	done
	need bison 2.0
	need flex 2.5.35
	need make 4.0
	need python3 3.9
	need "clang$LLVM_SUFFIX" "$MIN_LLVM"
	need "ld.lld$LLVM_SUFFIX" "$MIN_LLVM"
	need "llvm-nm$LLVM_SUFFIX" "$MIN_LLVM"
	find_rust || NEEDED="$NEEDED, rustc and cargo $MIN_RUST"
	[ -z "$RUSTC" ] || [ -r "$(rust_library)/core/src/lib.rs" ] ||
		NEEDED="$NEEDED, the Rust library's sources (rust-src)"
	[ -z "$NEEDED" ] || unfit "no apt here, and missing: ${NEEDED#, }" \
		"install these versions or newer, in $PATH"
}

# apt_get WHAT LOGNAME WORDS...: a step of apt-get, as root.
apt_get() {
	ag_what=$1 ag_log=$2
	shift 2
	# shellcheck disable=SC2086
	step "$ag_what" "$ag_log" $AS_ROOT env DEBIAN_FRONTEND=noninteractive \
		apt-get -q -o DPkg::Lock::Timeout=120 \
		-o Dpkg::Options::=--force-confdef \
		-o Dpkg::Options::=--force-confold "$@"
}

# Installs what preflight found missing: all that root is ever asked for.
install_packages() {
	[ -n "$MISSING" ] || return 0
	AS_ROOT=
	if [ "$(id -u)" -ne 0 ]; then
		say 'root is needed for apt alone'
		sudo true || unfit 'packages are missing, and sudo said no' \
			"as root, run: apt-get install --no-install-recommends $MISSING"
		# sudo remembers a password for this session only. Ctrl-C reaches it
		# through the terminal.
		AS_ROOT='env --default-signal=INT sudo'
		SESSION=
	fi
	# Under its lock apt may finish what it was interrupted at.
	if [ -e "$CACHE/installing" ]; then
		UNCUT=1
		# shellcheck disable=SC2086
		step 'packages: what was interrupted' dpkg.log $AS_ROOT \
			env DEBIAN_FRONTEND=noninteractive dpkg --force-confdef \
			--force-confold --configure -a
		UNCUT=
	fi
	# A list that cannot be had is no reason to stop while the packages can.
	stage 'package lists'
	# shellcheck disable=SC2086
	spawn "$LOG/apt-update.log" $AS_ROOT env DEBIAN_FRONTEND=noninteractive \
		apt-get -q -o DPkg::Lock::Timeout=120 update ||
		say "  not all could be had: $LOG/apt-update.log"
	# shellcheck disable=SC2086
	apt_get 'packages: download' apt-download.log install -y \
		--no-install-recommends --download-only $MISSING
	for ip_package in $MISSING; do
		printf '%s\n' "$ip_package"
	done >>"$CACHE/installed-packages"
	: >"$CACHE/installing"
	UNCUT=1
	[ -z "$AS_ROOT" ] || AS_ROOT=sudo
	# shellcheck disable=SC2086
	apt_get 'packages: installation' apt-install.log install -y \
		--no-install-recommends $MISSING
	UNCUT=
	rm -f "$CACHE/installing"
	SESSION=setsid
	hash -r
}

# The line that removes the packages which set-up installed and which are still
# there.
purge_line() {
	pl_list=
	for pl_package in $(sort -u "$CACHE/installed-packages" 2>/dev/null); do
		case $(dpkg-query -W -f '${Status}' "$pl_package" 2>/dev/null) in
		'install ok installed') pl_list="$pl_list $pl_package" ;;
		esac
	done
	if [ -z "$pl_list" ]; then
		say 'set-up installed no packages that are still here'
		return 0
	fi
	say 'packages that set-up installed; to remove them, as root:'
	say "    apt-get purge$pl_list"
	say 'and what came with them, after a look at the list that it shows:'
	say '    apt-get autoremove'
}

# Sets RUSTC, CARGO and what cargo heeds. False if there is no Rust, or one that
# is too old. Where the caller's tools are used, the first one that is new enough
# counts, and the compiler proper rather than a wrapper that picks one.
find_rust() {
	RUSTC='' CARGO=''
	if [ "$DISTRO" != other ]; then
		RUSTC=/usr/bin/rustc CARGO=/usr/bin/cargo
		[ -x "$RUSTC" ] && [ -x "$CARGO" ] || return 1
	else
		fi_rest=$PATH:
		while [ -n "$fi_rest" ] && [ -z "$RUSTC" ]; do
			fi_bin=${fi_rest%%:*}
			fi_rest=${fi_rest#*:}
			[ -x "$fi_bin/rustc" ] || continue
			fi_root=$("$fi_bin/rustc" --print sysroot 2>/dev/null) || continue
			[ ! -x "$fi_root/bin/rustc" ] || [ ! -x "$fi_root/bin/cargo" ] ||
				fi_bin=$fi_root/bin
			[ -x "$fi_bin/cargo" ] || continue
			fi_have=$(version_of "$fi_bin/rustc")
			! newer_or_same "${fi_have:-0}" "$MIN_RUST" ||
				RUSTC=$fi_bin/rustc CARGO=$fi_bin/cargo
		done
		[ -n "$RUSTC" ] || return 1
	fi
	newer_or_same "$(version_of "$RUSTC")" "$MIN_RUST" || return 1
	# Cargo's own downloads stay in the cache as well.
	CARGO_HOME=$CACHE/cargo-home
	CARGO_TARGET_DIR=$CACHE/target
	export RUSTC CARGO_HOME CARGO_TARGET_DIR
}

# Cargo tells by time stamps what is up to date. Those of this checkout may be
# older than what was built of another one, so that only crates of others are
# taken over from there.
own_crates() {
	oc_builder=$CARGO_TARGET_DIR/checkout
	[ "$(cat "$oc_builder" 2>/dev/null)" != "$ROOT" ] || return 0
	for oc_name in $(find "$ROOT/rust" "$ROOT/tests" -name target -prune \
		-o -name Cargo.toml -exec sed -n '/^\[package\]/,/^$/p' {} + |
		sed -n 's/^name = "\(.*\)"$/\1/p'); do
		rm -rf "$CARGO_TARGET_DIR"/*/.fingerprint/"$oc_name"-*
	done
	mkdir -p "$CARGO_TARGET_DIR"
	printf '%s\n' "$ROOT" >"$oc_builder"
}

# Where the sources of the Rust library are.
rust_library() {
	say "$("$RUSTC" --print sysroot)/lib/rustlib/src/rust/library"
}

# Sets RUSTC, BINDGEN and the like, once the packages are there, and has own
# crates built anew if another checkout built them.
find_toolchain() {
	find_rust || die "no rustc and cargo of $MIN_RUST or newer in /usr/bin" \
		'use Debian 12 or newer with its current package lists'
	own_crates
	LIBCLANG_PATH=
	if [ -n "$LLVM_SUFFIX" ] && [ -d "/usr/lib/llvm$LLVM_SUFFIX/lib" ]; then
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
	[ "$DISTRO" != other ] || BINDGEN=$(command -v bindgen) || :
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
