# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034,SC2154
# The disk of scripts/run and of guests under pressure. Sourced after setup.sh.

# Of a guest with 96 MiB of RAM, 1.3 times what its page cache holds.
TREE_MIB=94
SMALLEST_KIB=0

# image MIB: sets IMAGE and MANIFEST, an ext4 file system with a tree of MIB.
image() {
	im_key=$( (echo "$SRC_ID $SMALLEST_KIB" &&
		cat "$ROOT/tests/tools/src/tree.rs") | sha256sum | cut -c1-12)
	IMAGE=$CACHE/image/$1-$im_key.ext4
	MANIFEST=$IMAGE.list
	[ ! -e "$IMAGE" ] || return 0
	rm -rf "$CACHE/image/new" "$CACHE/image/$1-"*
	mkdir -p "$CACHE/image/new"
	# shellcheck disable=SC2016
	step "a tree of $1 MiB: sources, programs and libraries" image.log \
		sh -ec '
		tool=$1 new=$2 mib=$3 src=$4 smallest=$5
		"$tool" tree --to "$new/tree" --manifest "$new/list" \
			--mib "$mib" --min-kib "$smallest" --text "$src" \
			--binaries /usr/bin --binaries /usr/lib
		mke2fs -q -t ext4 -m 0 -L tree -d "$new/tree" "$new/image" \
			"$((mib + mib / 10 + 16))M"' \
		sh "$BIN/zcache-tools" "$CACHE/image/new" "$1" "$SRC" "$SMALLEST_KIB"
	mv "$CACHE/image/new/list" "$MANIFEST"
	mv "$CACHE/image/new/image" "$IMAGE"
	rm -rf "$CACHE/image/new"
}

# Sets IMAGE for a guest under pressure.
pressure_image() {
	image "$TREE_MIB"
}
