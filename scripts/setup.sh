# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034
# From a bare machine to a guest kernel, for the scripts that boot one.
# Sourced with ROOT set; then: begin TITLE, set_up.

# shellcheck source=scripts/lib.sh
. "$ROOT/scripts/lib.sh"
# shellcheck source=scripts/packages.sh
. "$ROOT/scripts/packages.sh"
# shellcheck source=scripts/preflight.sh
. "$ROOT/scripts/preflight.sh"
# shellcheck source=scripts/series.sh
. "$ROOT/scripts/series.sh"
# shellcheck source=scripts/source.sh
. "$ROOT/scripts/source.sh"
# shellcheck source=scripts/kernel.sh
. "$ROOT/scripts/kernel.sh"

# begin TITLE: the first line, the preflight, the lock and the packages.
begin() {
	say "$1"
	[ "$(uname -m)" = x86_64 ] || elsewhere
	preflight
	lock_cache
	install_packages
	find_toolchain
}

# On another architecture: says what there is to do, runs the codec's tests, and
# ends; with their result for scripts/test, which tests what it can, and with 2
# for all others, which cannot do what they are for.
elsewhere() {
	say "user-mode Linux runs on x86-64, and this is $(uname -m): no guests" \
		"here."
	say 'To try the driver, give QEMU (qemu-system-x86_64, or the one of this'
	say 'architecture if it has 64 bits and pages of 4 KiB) a kernel with'
	say "patches/$SERIES, CONFIG_CLEANCACHE=y, CONFIG_ZCACHE=y and the boot word"
	say '"zcache". What follows are the codec'"'"'s tests on this machine.'
	plain_path "$ROOT"
	plain_path "$CACHE"
	detect_distro
	# shellcheck disable=SC2046
	find_missing $(codec_packages)
	if [ -n "$MISSING" ]; then
		say "packages to install, with apt: $MISSING"
		may_become_root
	fi
	[ "$DISTRO" != other ] || find_rust || unfit \
		"no apt here, and no rustc and cargo $MIN_RUST" 'install them'
	lock_cache
	install_packages
	find_rust || die "no rustc and cargo of $MIN_RUST or newer in /usr/bin" \
		'use Debian 12 or newer with its current package lists'
	own_crates
	stage 'lzo: cargo test in rust/lzo'
	el_rc=0
	spawn "$LOG/test-lzo.log" "$CARGO" test --locked --no-fail-fast --workspace \
		--release --manifest-path "$ROOT/rust/lzo/Cargo.toml" || el_rc=$?
	[ "$el_rc" -eq 0 ] || show_failure "$LOG/test-lzo.log"
	el_passed=$(grep -cE '^test .* \.\.\. ok$' "$LOG/test-lzo.log") || :
	el_failed=$(grep -cE '^test .* \.\.\. FAILED$' "$LOG/test-lzo.log") || :
	[ "$el_rc" -eq 0 ] || [ "$el_failed" -gt 0 ] || el_failed=1
	say "$el_passed passed, $el_failed failed"
	case ${0##*/} in
	test) [ "$el_rc" -eq 0 ] && [ "$el_passed" -gt 0 ] && exit 0 || exit 1 ;;
	*) unfit "no guests on $(uname -m)" 'sh scripts/test: what runs here' ;;
	esac
}

# Everything up to a guest kernel (LINUX) and the guest's programs (BIN).
set_up() {
	kernel_source
	kernel_tree
	kernel_build
	build_tools
}

# Sets BIN: the folder of the programs of tests/tools and tests/coherency.
build_tools() {
	BIN=$CARGO_TARGET_DIR/release
	bt_key=$(cd "$ROOT/tests" && find tools coherency -name target -prune \
		-o -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16)
	[ "$(cat "$CACHE/target/tools-key" 2>/dev/null)" != "$bt_key" ] || return 0
	for bt_crate in tools coherency; do
		step "guest programs, by cargo: $bt_crate" tools.log "$CARGO" \
			build --release --locked \
			--manifest-path "$ROOT/tests/$bt_crate/Cargo.toml"
	done
	printf '%s\n' "$bt_key" >"$CACHE/target/tools-key"
}
