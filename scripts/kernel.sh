# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034,SC2015,SC2016,SC2013
# The kernel: its source, the series on top of it, and the guest kernel.
# Sourced after lib.sh and packages.sh.
#
# $CACHE/src/ID     a pristine tree; src/current names the one in use
# $CACHE/work/ID/   of this checkout: tree (with the series), um, kunit

SERIES=7.3
UPSTREAM_PIN=7.3.4

# src_done ID: a tree that was unpacked as src/new is complete.
src_done() {
	sd_make=$CACHE/src/new/Makefile
	[ -r "$sd_make" ] && grep -q '^VERSION = 7$' "$sd_make" &&
		grep -q '^PATCHLEVEL = 3$' "$sd_make" ||
		die "the source from $1 is not a Linux $SERIES tree" \
			"point KERNEL_SRC= at one"
	rm -rf "$CACHE/src/$1"
	mv "$CACHE/src/new" "$CACHE/src/$1"
	printf '%s\n' "$1" >"$CACHE/src/current.new"
	mv "$CACHE/src/current.new" "$CACHE/src/current"
}

# Sets SRC_ID and SRC: the pristine tree.
kernel_source() {
	mkdir -p "$CACHE/src"
	rm -rf "$CACHE/src/new"
	if [ -n "${KERNEL_SRC:-}" ]; then
		own_source
	elif SRC_ID=$(cat "$CACHE/src/current" 2>/dev/null) &&
		[ "${SRC_ID#own-}" = "$SRC_ID" ] && [ -d "$CACHE/src/$SRC_ID" ]; then
		:
	else
		debian_source || upstream_source ||
			die "no source of Linux $SERIES to be had" \
				"set KERNEL_SRC= to a tree of Linux $SERIES"
	fi
	SRC_ID=$(cat "$CACHE/src/current")
	SRC=$CACHE/src/$SRC_ID
}

# KERNEL_SRC=: a copy, known again by names, sizes and times.
own_source() {
	ow_src=$(cd "$KERNEL_SRC" 2>/dev/null && pwd -P) ||
		unfit "KERNEL_SRC=$KERNEL_SRC is not a folder" \
			'point it at a kernel tree, or leave it out'
	ow_id=own-$( (cd "$ow_src" && find . -name .git -prune -o -type f \
		-printf '%p %s %T@\n') | sort | sha256sum | cut -c1-16)
	if [ ! -d "$CACHE/src/$ow_id" ]; then
		mkdir -p "$CACHE/src/new"
		step "kernel source: a copy of $ow_src" source.log sh -ec '
			tar -C "$1" --exclude=./.git -cf - . | tar -C "$2" -xf -
			! [ -e "$2/.config" ] || make -C "$2" mrproper' \
			sh "$ow_src" "$CACHE/src/new"
		src_done "$ow_id"
	fi
	printf '%s\n' "$ow_id" >"$CACHE/src/current"
}

# Where this system gets Debian from, as apt itself understands its settings.
debian_mirrors() {
	apt-get --no-release-info indextargets \
		--format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' 2>/dev/null |
		awk '$2 !~ /security|updates|backports/ { print $1 }' | sort -u
}

# linux-source-7.3 of any suite, through a private apt state, so that the
# system's own sources and lists stay as they are.
debian_source() {
	[ "$DISTRO" != other ] || return 1
	ds_apt=$CACHE/apt
	for ds_mirror in $(debian_mirrors); do
		for ds_suite in trixie-backports testing unstable; do
			rm -rf "$ds_apt"
			mkdir -p "$ds_apt/lists/partial" "$ds_apt/cache/archives/partial"
			ds_key=/usr/share/keyrings/debian-archive-keyring.gpg
			ds_opt=
			[ ! -r "$ds_key" ] || ds_opt="[signed-by=$ds_key] "
			printf 'deb %s%s %s main\n' "$ds_opt" "$ds_mirror" \
				"$ds_suite" >"$ds_apt/sources.list"
			stage "kernel source: linux-source-$SERIES in $ds_suite"
			if spawn "$LOG/source.log" sh -c "$FETCH_DEB" sh \
				"$ds_apt" "linux-source-$SERIES"; then
				ds_deb=$(basename "$ds_apt"/*.deb)
				mv "$ds_apt/new" "$CACHE/src/new"
				src_done "$(printf '%s' "${ds_deb%_all.deb}" |
					tr -c 'A-Za-z0-9._-' '-')"
				rm -rf "$ds_apt"
				return 0
			fi
			say "  not there ($(tail -n 1 "$LOG/source.log" | cut -c1-60))"
		done
	done
	return 1
}

# sh -c: fetch and unpack a source package, with its apt state in $1.
FETCH_DEB='set -e
apt_get() {
	apt-get -q -o Dir::State::Lists="$D/lists" -o Dir::Cache="$D/cache" \
		-o Dir::Etc::SourceList="$D/sources.list" \
		-o Dir::Etc::SourceParts=/dev/null \
		-o Dir::State::status=/dev/null -o APT::Sandbox::User=root "$@"
}
D=$1
cd "$D"
apt_get update
apt_get download "$2"
dpkg -x "$2"_*.deb x
mkdir new
tar -C new --strip-components=1 -xf x/usr/src/"$2".tar.xz'

# The last resort: the release tarball of upstream.
upstream_source() {
	us_url=https://cdn.kernel.org/pub/linux/kernel/v7.x
	us_tar=linux-$UPSTREAM_PIN.tar.xz
	mkdir -p "$CACHE/src/new" "$CACHE/apt"
	stage "kernel source: $us_url/$us_tar"
	spawn "$LOG/source.log" sh -ec '
		fetch() {
			if command -v curl; then curl -fsSLo "$2" "$1"
			elif command -v wget; then wget -qO "$2" "$1"
			else /usr/lib/apt/apt-helper download-file "$1" "$2"; fi
		}
		cd "$3"
		fetch "$1/$2" "$2"
		fetch "$1/sha256sums.asc" sums
		grep " $2\$" sums | sha256sum -c
		tar -C "$4" --strip-components=1 -xf "$2"' \
		sh "$us_url" "$us_tar" "$CACHE/apt" "$CACHE/src/new" || return 1
	src_done "linux-$UPSTREAM_PIN"
	rm -rf "$CACHE/apt"
}

# Sets WORK and TREE: the source with the series applied and this checkout as
# drivers/staging/zcache. Files that a new series leaves as they were keep
# their times, so that only the rest is built again.
kernel_tree() {
	WORK=$CACHE/work/$(printf '%s' "$ROOT" | sha256sum | cut -c1-8)
	TREE=$WORK/tree
	kt_series=$(cat "$ROOT/patches/$SERIES"/*.patch 2>/dev/null |
		sha256sum | cut -c1-16)
	mkdir -p "$WORK"
	if [ "$(cat "$WORK/source" 2>/dev/null)" != "$SRC_ID" ]; then
		# Another kernel's objects would look newer than this source.
		rm -rf "$WORK"
		mkdir -p "$WORK"
	elif [ "$(cat "$WORK/series" 2>/dev/null)" = "$kt_series" ]; then
		return 0
	fi
	stage "kernel tree: $SRC_ID with the series of patches/$SERIES"
	rm -rf "$WORK/new"
	cp -al "$SRC" "$WORK/new"
	for kt_patch in "$ROOT/patches/$SERIES"/*.patch; do
		[ -e "$kt_patch" ] || continue
		apply_patch "$kt_patch" "$WORK/new"
	done
	rm -rf "$WORK/new/drivers/staging/zcache"
	ln -s "$ROOT" "$WORK/new/drivers/staging/zcache"
	[ ! -d "$TREE" ] || keep_times
	rm -rf "$TREE"
	mv "$WORK/new" "$TREE"
	printf '%s\n' "$SRC_ID" >"$WORK/source"
	printf '%s\n' "$kt_series" >"$WORK/series"
}

# Files that either series touches stand alone (one link); all others are the
# source's own. A file that went back to the source's text is new to make, one
# that is as before is not.
keep_times() {
	(cd "$TREE" && find . -type f -links 1) >"$WORK/touched"
	(cd "$WORK/new" && find . -type f -links 1) >>"$WORK/touched"
	while read -r kt_file; do
		[ -e "$WORK/new/$kt_file" ] || continue
		if [ "$(stat -c %h "$WORK/new/$kt_file")" -gt 1 ]; then
			cp --remove-destination "$SRC/$kt_file" "$WORK/new/$kt_file"
		fi
		! cmp -s "$WORK/new/$kt_file" "$TREE/$kt_file" ||
			touch -r "$TREE/$kt_file" "$WORK/new/$kt_file"
	done <"$WORK/touched"
	rm -f "$WORK/touched"
}

# apply_patch PATCH TREE: without fuzz; a patch that lands in the wrong place
# of mm/ is worse than none.
apply_patch() {
	ap_log=$LOG/patch.log
	if patch -p1 -f -N -F0 --no-backup-if-mismatch -d "$2" -i "$1" \
		>"$ap_log" 2>&1; then
		return 0
	fi
	# A patch names the file that rejected it in one of three ways.
	ap_files=$(sed -n -e 's/.*saving rejects to file \(.*\)\.rej$/\1/p' \
		-e 's,^|+++ b/\([^[:space:]]*\).*,\1,p' \
		-e 's/^The next patch would create the file \(.*\),$/\1/p' \
		"$ap_log" | sort -u | tr '\n' ' ')
	die "${1#"$ROOT"/} does not fit $SRC_ID, at: ${ap_files:-(see the log)}" \
		"use another 7.3.y with KERNEL_SRC=; the log is $ap_log"
}

# Nothing of the caller's environment reaches the kernel's build. As words,
# because step runs programs, not functions.
clean_env_words() {
	say env -i "PATH=$PATH" LC_ALL=C "HOME=$CACHE" "TMPDIR=${TMPDIR:-/tmp}" \
		"${LIBCLANG_PATH:+LIBCLANG_PATH=$LIBCLANG_PATH}"
}

# The variables that name the tools, for make and for kunit.py.
tool_words() {
	if [ -n "$LLVM_SUFFIX" ]; then
		say "LLVM=$LLVM_SUFFIX"
	else
		say LLVM=1
	fi
	say "RUSTC=$RUSTC" "HOSTRUSTC=$RUSTC" RUSTDOC=/usr/bin/rustdoc \
		RUSTFMT=/usr/bin/rustfmt CLIPPY_DRIVER=/usr/bin/clippy-driver \
		"BINDGEN=$BINDGEN" "$SMALL_DATA"
}

# kstep WHAT LOGNAME FOLDER TARGETS...
kstep() {
	ks_what=$1 ks_log=$2 ks_out=$3
	shift 3
	# shellcheck disable=SC2046
	step "$ks_what" "$ks_log" $(clean_env_words) make -C "$TREE" O="$ks_out" \
		ARCH=um $(tool_words) -j"$JOBS" "$@"
}

# The hash of all that the driver is built from.
driver_hash() {
	(cd "$ROOT" && find . \( -name .git -o -name out -o -name target \
		-o -name tests -o -name Documentation \) -prune -o -type f \
		\( -name '*.rs' -o -name Kbuild -o -name Kconfig -o -name '*.h' \) \
		-print0 | sort -z | xargs -0r sha256sum | sha256sum | cut -c1-16)
}

# Sets LINUX: the guest kernel, built if anything in it changed.
kernel_build() {
	kb_out=$WORK/um
	LINUX=$kb_out/linux
	kb_fragments=$ROOT/scripts/config/um.fragment
	if [ -e "$ROOT/patches/$SERIES" ]; then
		kb_fragments="$kb_fragments $ROOT/scripts/config/zcache.fragment"
	fi
	# shellcheck disable=SC2086
	kb_config=$(cat $kb_fragments | sha256sum | cut -c1-16)
	kb_key="$SRC_ID $(cat "$WORK/series") $kb_config $(driver_hash) \
$(version_of "$RUSTC") $(tool_words)"
	if [ -x "$LINUX" ] && [ "$(cat "$kb_out/key" 2>/dev/null)" = "$kb_key" ]; then
		return 0
	fi
	mkdir -p "$kb_out"
	rm -f "$kb_out/key"
	if [ "$(cat "$kb_out/config-key" 2>/dev/null)" != "$kb_config" ]; then
		kstep 'kernel configuration' config.log "$kb_out" tinyconfig
		# shellcheck disable=SC2086
		"$TREE/scripts/kconfig/merge_config.sh" -m -O "$kb_out" \
			"$kb_out/.config" $kb_fragments >>"$LOG/config.log" 2>&1
		kstep 'kernel configuration, settled' config.log "$kb_out" olddefconfig
		# shellcheck disable=SC2086
		kb_lost=$(grep -hE '^CONFIG_[A-Z0-9_]+=y' $kb_fragments |
			grep -vxF -f "$kb_out/.config" || :)
		[ -z "$kb_lost" ] || die \
			"this kernel's Kconfig drops: $(printf '%s' "$kb_lost" | tr '\n' ' ')" \
			"see what they depend on in $TREE"
		printf '%s\n' "$kb_config" >"$kb_out/config-key"
	fi
	kstep 'kernel build (minutes the first time)' build.log "$kb_out" linux
	printf '%s\n' "$kb_key" >"$kb_out/key"
}
