# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034,SC2015,SC2016,SC2013
# The kernel's source, from the first place that has one which the series fits.
# Sourced after lib.sh, packages.sh and series.sh.
#
# $CACHE/src/ID     a pristine tree; src/current names the one in use

SERIES=7.3
UPSTREAM_PIN=7.3.4
UPSTREAM=${UPSTREAM:-https://cdn.kernel.org/pub/linux/kernel/v7.x}
# The tarball's SHA-256. Without one, the list that lies beside the tarball must
# do, and the set-up says so.
UPSTREAM_SHA256=${UPSTREAM_SHA256:-}

# Sets SRC_ID and SRC: the pristine tree.
kernel_source() {
	mkdir -p "$CACHE/src"
	rm -rf "$CACHE/src/new" "$CACHE/apt"
	if [ -n "${KERNEL_SRC:-}" ]; then
		own_source
	elif SRC_ID=$(cat "$CACHE/src/current" 2>/dev/null) &&
		[ -d "$CACHE/src/$SRC_ID" ]; then
		:
	else
		TRIED=
		debian_source || newer_source || upstream_source ||
			die "no source of Linux $SERIES to be had; tried:$TRIED" \
				"set KERNEL_SRC= to a tree of Linux $SERIES"
		rm -rf "$CACHE/apt"
		printf '%s\n' "$SRC_ID" >"$CACHE/src/current.new"
		mv "$CACHE/src/current.new" "$CACHE/src/current"
	fi
	SRC=$CACHE/src/$SRC_ID
}

# source_version TREE: its version, as in 7.3. Fails for anything else.
source_version() {
	[ -d "$1/mm" ] && [ -r "$1/Makefile" ] || return 1
	awk '/^VERSION = / { v = $3 } /^PATCHLEVEL = / { p = $3 }
		END { print v "." p; exit v == "" || p == "" }' "$1/Makefile"
}

# src_done ID: the tree that was unpacked as src/new is complete.
src_done() {
	rm -rf "$CACHE/src/${1:?}"
	mv "$CACHE/src/new" "$CACHE/src/$1"
	SRC_ID=$1
}

# KERNEL_SRC=: a copy, known again by names, sizes and times.
own_source() {
	ow_src=$(cd "$KERNEL_SRC" 2>/dev/null && pwd -P) ||
		unfit "KERNEL_SRC=$KERNEL_SRC is not a folder" \
			'point it at a kernel tree, or leave it out'
	ow_version=$(source_version "$ow_src") ||
		unfit "KERNEL_SRC=$ow_src is not a kernel tree" \
			"point it at one of Linux $SERIES, or leave it out"
	SRC_ID=own-$( (cd "$ow_src" && find . -name .git -prune -o -type f \
		-printf '%p %s %T@\n') | sort | sha256sum | cut -c1-16)
	[ ! -d "$CACHE/src/$SRC_ID" ] || return 0
	stage "kernel source: KERNEL_SRC=$ow_src, Linux $ow_version"
	# Before 2 GB are copied.
	if ! ow_report=$(try_series "$ow_src"); then
		say "$ow_report"
		unfit "the series for Linux $SERIES does not fit KERNEL_SRC=$ow_src" \
			'use a source that each patch applies to without fuzz'
	fi
	# One copy at a time: the one before is of an older state, or of another
	# tree.
	rm -rf "$CACHE/src/"own-*
	mkdir -p "$CACHE/src/new"
	step '  a copy of it' source.log sh -ec '
		tar -C "$1" --exclude=./.git -cf - . | tar -C "$2" -xf -
		! [ -e "$2/.config" ] || make -C "$2" mrproper' \
		sh "$ow_src" "$CACHE/src/new"
	src_done "$SRC_ID"
}

# Where this system gets Debian from, as apt itself understands its settings.
debian_mirrors() {
	apt-get --no-release-info indextargets \
		--format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' 2>/dev/null |
		awk '$2 !~ /security|updates|backports/ { print $1 }' | sort -u
}

# The places to look at, a line each: "system" for the suites that this system
# has in its settings, and others as a suite and a mirror.
debian_places() {
	say system
	for dp_mirror in $(debian_mirrors); do
		for dp_suite in trixie-backports testing unstable; do
			say "$dp_suite $dp_mirror"
		done
	done
}

# What makes apt believe a mirror.
debian_trust() {
	dt_key=/usr/share/keyrings/debian-archive-keyring.gpg
	[ ! -r "$dt_key" ] || printf '[signed-by=%s] ' "$dt_key"
}

# open_place PLACE: sets PLACE_APT, the words that let apt see it. Suites that
# the system does not have get a private apt state, so that its own sources and
# lists stay as they are.
open_place() {
	PLACE_APT=
	[ "$1" != system ] || return 0
	op_dir=$CACHE/apt/$(printf '%s' "$1" | tr -c 'A-Za-z0-9\n' '-')
	PLACE_APT="-o Dir::State::Lists=$op_dir/lists -o Dir::Cache=$op_dir/cache
		-o Dir::Etc::SourceList=$op_dir/sources.list
		-o Dir::Etc::SourceParts=/dev/null -o Dir::State::status=/dev/null
		-o APT::Sandbox::User=root"
	[ ! -e "$op_dir/open" ] || return 0
	mkdir -p "$op_dir/lists/partial" "$op_dir/cache/archives/partial"
	printf 'deb %s%s %s main\n' "$(debian_trust)" "${1#* }" "${1%% *}" \
		>"$op_dir/sources.list"
	# shellcheck disable=SC2086
	spawn "$LOG/source.log" apt-get -q $PLACE_APT update || return 1
	: >"$op_dir/open"
}

# try_place PLACE PACKAGE: unpacks that source package as src/new and sets
# SRC_NAME. Says what is tried, and why not.
try_place() {
	stage "kernel source: $2 in ${1%% *}"
	TRIED="$TRIED $2 in ${1%% *},"
	rm -rf "$CACHE/apt/deb" "$CACHE/src/new"
	mkdir -p "$CACHE/apt/deb" "$CACHE/src/new"
	# shellcheck disable=SC2086
	if ! open_place "$1" || ! spawn "$LOG/source.log" sh -c "$FETCH_DEB" sh \
		"$CACHE/apt/deb" "$2" "$CACHE/src/new" $PLACE_APT; then
		say "  not there ($(tail -n 1 "$LOG/source.log" | cut -c1-60))"
		return 1
	fi
	if [ "$(source_version "$CACHE/src/new")" != "${2#linux-source-}" ]; then
		say '  it holds something else'
		return 1
	fi
	SRC_NAME=$(basename "$CACHE/apt/deb"/*.deb _all.deb |
		tr -c 'A-Za-z0-9._\n-' '-')
}

# sh -c: fetch and unpack a source package in a folder, to another.
FETCH_DEB='set -e
cd "$1"; package=$2 to=$3; shift 3
apt-get -q "$@" download "$package"
dpkg -x "$package"_*.deb x
tar -C "$to" --strip-components=1 -xf x/usr/src/"$package".tar.xz'

# linux-source-7.3, of any 7.3.y.
debian_source() {
	[ "$DISTRO" != other ] || return 1
	debian_places >"$CACHE/src/places"
	while read -r de_place; do
		if try_place "$de_place" "linux-source-$SERIES"; then
			src_done "$SRC_NAME"
			return 0
		fi
	done <"$CACHE/src/places"
	return 1
}

# A newer one, the nearest first, to which every patch applies without fuzz.
newer_source() {
	[ "$DISTRO" != other ] || return 1
	: >"$CACHE/src/newer"
	while read -r ne_place; do
		open_place "$ne_place" || continue
		# shellcheck disable=SC2086
		for ne_package in $(apt-cache $PLACE_APT pkgnames linux-source- |
			grep -E '^linux-source-[0-9]+\.[0-9]+$'); do
			ne_version=${ne_package#linux-source-}
			[ "$ne_version" = "$SERIES" ] ||
				! newer_or_same "$ne_version" "$SERIES" ||
				say "$ne_version $ne_place" >>"$CACHE/src/newer"
		done
	done <"$CACHE/src/places"
	sort -s -V -k 1,1 -o "$CACHE/src/newer" "$CACHE/src/newer"
	ne_seen=
	while read -r ne_version ne_place; do
		[ "$ne_seen" != "$ne_version" ] || continue
		try_place "$ne_place" "linux-source-$ne_version" || continue
		ne_seen=$ne_version
		if ne_report=$(try_series "$CACHE/src/new"); then
			src_done "$SRC_NAME"
			return 0
		fi
		say "  the series does not fit it:"
		say "$ne_report" | grep -v ': applies$' | head -n 4
	done <"$CACHE/src/newer"
	return 1
}

# The last resort: the release tarball of upstream.
upstream_source() {
	us_tar=linux-$UPSTREAM_PIN.tar.xz
	TRIED="$TRIED $UPSTREAM/$us_tar"
	rm -rf "$CACHE/src/new" "$CACHE/apt"
	mkdir -p "$CACHE/src/new" "$CACHE/apt"
	stage "kernel source: $UPSTREAM/$us_tar"
	[ -n "$UPSTREAM_SHA256" ] ||
		say '  no checksum is pinned: it is held against those published with it'
	spawn "$LOG/source.log" sh -ec '
		fetch() {
			if command -v curl; then curl -fsSLo "$2" "$1"
			elif command -v wget; then wget -qO "$2" "$1"
			else /usr/lib/apt/apt-helper download-file "$1" "$2"; fi
		}
		cd "$3"
		fetch "$1/$2" "$2"
		if [ -n "$5" ]; then
			printf "%s  %s\n" "$5" "$2" >sum
		else
			fetch "$1/sha256sums.asc" sums
			grep " $2\$" sums >sum
		fi
		sha256sum -c sum
		tar -C "$4" --strip-components=1 -xf "$2"' \
		sh "$UPSTREAM" "$us_tar" "$CACHE/apt" "$CACHE/src/new" \
		"$UPSTREAM_SHA256" || {
		say "  not to be had ($(tail -n 1 "$LOG/source.log" | cut -c1-60))"
		return 1
	}
	source_version "$CACHE/src/new" >/dev/null || return 1
	src_done "linux-$UPSTREAM_PIN"
}
