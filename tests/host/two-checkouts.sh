#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck disable=SC2016
#
# Two checkouts with one cache: what is built of one is not taken for the other,
# whatever the time stamps of its files say.
# shellcheck source=tests/host/lib.sh
. "$(dirname "$0")/lib.sh"

for name in a b; do
	crate=$TMP/$name/tests/tools
	mkdir -p "$crate/src"
	cp -r "$ROOT/scripts" "$ROOT/patches" "$ROOT/Kconfig" "$TMP/$name/"
	printf '%s\n' '[package]' 'name = "of-two"' 'version = "0.1.0"' \
		'edition = "2021"' >"$crate/Cargo.toml"
	echo "fn main() { println!(\"built of $name\"); }" >"$crate/src/main.rs"
	find "$crate" -exec touch -d '3 minutes ago' {} +
done

# built NAME: the program, as it is after a build in that checkout.
built() {
	env -u ZCACHE_LOCKED ROOT="$TMP/$1" ZCACHE_CACHE="$TMP/cache" sh -euc '
		. "$ROOT/scripts/setup.sh"
		DISTRO=other
		find_rust
		own_crates
		"$CARGO" build -q --offline \
			--manifest-path "$ROOT/tests/tools/Cargo.toml"
		"$CARGO_TARGET_DIR/debug/of-two"'
}

for name in a b a; do
	ends 0 built "$name"
	says "built of $name"
done
