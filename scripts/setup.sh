# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034
# From a bare machine to a guest kernel, for the scripts that boot one.
# Sourced with ROOT set; then: begin TITLE, set_up.

# shellcheck source=scripts/lib.sh
. "$ROOT/scripts/lib.sh"
# shellcheck source=scripts/packages.sh
. "$ROOT/scripts/packages.sh"
# shellcheck source=scripts/kernel.sh
. "$ROOT/scripts/kernel.sh"

# begin TITLE: the first line, the preflight, the lock and the packages.
begin() {
	say "$1"
	preflight
	lock_cache
	install_packages
	find_toolchain
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
