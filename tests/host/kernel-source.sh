#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck disable=SC2016
#
# Where the kernel's source comes from: the suites in their order, a newer
# version that the series fits without fuzz, upstream's tarball with its
# checksum, KERNEL_SRC. Each try is named. From package archives made here.
# shellcheck source=tests/host/lib.sh
. "$(dirname "$0")/lib.sh"

# A checkout with a series of one patch, for lines 18 to 22 of a file.
CHECKOUT=$TMP/checkout
mkdir -p "$CHECKOUT/patches/7.3" "$TMP/a/mm" "$TMP/b/mm"
cp -r "$ROOT/scripts" "$CHECKOUT/scripts"
cp "$ROOT/Kconfig" "$CHECKOUT/"
seq 1 40 >"$TMP/a/mm/filemap.c"
sed 's/^20$/twenty/' "$TMP/a/mm/filemap.c" >"$TMP/b/mm/filemap.c"
(cd "$TMP" && diff -u a/mm/filemap.c b/mm/filemap.c \
	>"$CHECKOUT/patches/7.3/0001-one.patch") || :

# tree VERSION FOLDER [SED]: a kernel tree, as far as anyone looks at it.
tree() {
	rm -rf "$2"
	mkdir -p "$2/mm"
	printf 'VERSION = %s\nPATCHLEVEL = %s\n' "${1%.*}" "${1#*.}" >"$2/Makefile"
	seq 1 40 | sed "${3:-}" >"$2/mm/filemap.c"
}

# archive SUITE VERSION [SED]: a package archive with a linux-source of it.
archive() {
	ar_name=linux-source-$2 ar_dists=$TMP/repo/dists/$1
	ar_pool=$TMP/repo/pool/$1
	mkdir -p "$TMP/deb/DEBIAN" "$TMP/deb/usr/src" "$ar_pool" \
		"$ar_dists/main/binary-amd64"
	tree "$2" "$TMP/$ar_name" "${3:-}"
	tar -C "$TMP" -cJf "$TMP/deb/usr/src/$ar_name.tar.xz" "$ar_name"
	printf '%s\n' "Package: $ar_name" 'Version: 1~x+1' 'Architecture: all' \
		'Maintainer: a <a@b>' 'Description: a' >"$TMP/deb/DEBIAN/control"
	dpkg-deb -b "$TMP/deb" "$ar_pool/$ar_name.deb" >/dev/null
	{
		cat "$TMP/deb/DEBIAN/control"
		echo "Filename: pool/$1/$ar_name.deb"
		echo "Size: $(stat -c %s "$ar_pool/$ar_name.deb")"
		echo "SHA256: $(sha256sum <"$ar_pool/$ar_name.deb" | cut -d' ' -f1)"
		echo
	} >>"$ar_dists/main/binary-amd64/Packages"
	(cd "$ar_dists" && printf '%s\n' "Suite: $1" 'Components: main' \
		'Architectures: amd64' 'SHA256:' " $(sha256sum \
		<main/binary-amd64/Packages | cut -d' ' -f1) $(stat -c %s \
		main/binary-amd64/Packages) main/binary-amd64/Packages") \
		>"$ar_dists/Release"
	rm -rf "$TMP/deb" "${TMP:?}/$ar_name"
}

# source_with [VARIABLE=VALUE...]: an empty cache, and what comes into it.
source_with() {
	rm -rf "$TMP/cache"
	env -u ZCACHE_LOCKED ROOT="$CHECKOUT" ZCACHE_CACHE="$TMP/cache" \
		MIRROR="file:$TMP/repo" UPSTREAM="file:$TMP/upstream" "$@" sh -euc '
		. "$ROOT/scripts/setup.sh"
		debian_places() {
			for suite in own trixie-backports testing unstable; do
				say "$suite $MIRROR"
			done
		}
		debian_trust() { printf "[trusted=yes arch=amd64] "; }
		# Without the wait between two looks at its child.
		spawn() { log=$1; shift; "$@" >"$log" 2>&1; }
		DISTRO=${DISTRO-apt}
		mkdir -p "$LOG"
		kernel_source
		say "it is $SRC_ID, $(source_version "$SRC")"
		grep -qx 20 "$SRC/mm/filemap.c"'
}
# clear: no archive has anything.
clear() {
	rm -rf "$TMP/repo" "$TMP/upstream"
	mkdir -p "$TMP/repo" "$TMP/upstream"
}

clear
archive unstable 7.3
archive own 7.3
ends 0 source_with
says 'kernel source: linux-source-7.3 in own'
says 'it is linux-source-7.3_1-x-1, 7.3'
! grep -q unstable "$TMP/said" || fail 'it went on'

clear
archive testing 7.3
ends 0 source_with
says 'linux-source-7.3 in own'
says 'linux-source-7.3 in trixie-backports'
says 'linux-source-7.3 in testing'
[ "$(grep -c 'not there' "$TMP/said")" -eq 2 ] || fail 'it does not say why'

# Newer ones: 7.5 does not fit, 7.4 does; 7.10 is not the nearest, 7.2 too old.
clear
archive own 7.10
archive testing 7.2
archive testing 7.4
archive unstable 7.5 's/^19$/other/'
ends 0 source_with
says 'linux-source-7.3 in unstable'
says 'linux-source-7.4 in testing'
says ', 7.4'

# Fuzz is not fit.
clear
archive own 7.4 's/^18$/other/; s/^22$/other/'
archive testing 7.5 's/^20$/other/'
ends 1 source_with
says '0001-one.patch: applies with fuzz'
says '0001-one.patch: fails at mm/filemap.c'
says 'no source of Linux 7.3 to be had; tried: linux-source-7.3 in own, '
says 'linux-7.3.4.tar.xz'
says 'next:'

# Upstream's tarball: without apt it is the first. The checksum decides.
clear
tree 7.3 "$TMP/linux-7.3.4"
tar -C "$TMP" -cJf "$TMP/upstream/linux-7.3.4.tar.xz" linux-7.3.4
sum=$(sha256sum <"$TMP/upstream/linux-7.3.4.tar.xz" | cut -d' ' -f1)
if command -v curl >/dev/null; then
	ends 0 source_with DISTRO=other UPSTREAM_SHA256="$sum"
	says 'it is linux-7.3.4, 7.3'
	! grep -q 'linux-source' "$TMP/said" || fail 'apt was asked'
	ends 1 source_with DISTRO=other UPSTREAM_SHA256="${sum%?}0${sum#??}"
	ends 1 source_with DISTRO=other UPSTREAM_SHA256="$(echo x | sha256sum |
		cut -d' ' -f1)"
	says 'no source of Linux 7.3'
	ends 1 source_with DISTRO=other UPSTREAM_SHA256=
	says 'no checksum is pinned'
	echo "$sum  linux-7.3.4.tar.xz" >"$TMP/upstream/sha256sums.asc"
	ends 0 source_with DISTRO=other UPSTREAM_SHA256=
fi

# KERNEL_SRC: no folder, no kernel, one that does not fit, one that does.
ends 2 source_with KERNEL_SRC=/nowhere
says 'KERNEL_SRC=/nowhere is not a folder'
ends 2 source_with KERNEL_SRC="$TMP"
says 'is not a kernel tree'
tree 6.1 "$TMP/mine" 's/^19$/other/'
ends 2 source_with KERNEL_SRC="$TMP/mine"
says 'fails at mm/filemap.c'
says 'does not fit KERNEL_SRC='
[ -z "$(ls "$TMP/cache/src")" ] || fail 'it left something'
tree 7.3 "$TMP/mine"
ends 0 source_with KERNEL_SRC="$TMP/mine"
says 'it is own-'
grep -qx 20 "$TMP/mine/mm/filemap.c" || fail 'it changed KERNEL_SRC'

# make rebase-check: the same, as a list.
rebase_check() {
	env ROOT="$CHECKOUT" KERNEL_SRC="$1" sh "$CHECKOUT/scripts/rebase-check"
}
ends 0 rebase_check "$TMP/mine"
says '0001-one.patch: applies'
tree 7.4 "$TMP/mine" 's/^18$/other/'
ends 1 rebase_check "$TMP/mine"
says '0001-one.patch: applies with fuzz'
tree 7.4 "$TMP/mine" 's/^20$/other/'
ends 1 rebase_check "$TMP/mine"
says '0001-one.patch: fails at mm/filemap.c'
ends 2 rebase_check /nowhere
says 'not a kernel tree'
