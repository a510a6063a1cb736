# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034,SC2015,SC2016,SC2013
# The kernel: the series on top of the source, and the guest kernel.
# Sourced after source.sh.
#
# $CACHE/work/ID/   of this checkout: tree (with the series), um, kunit

# Sets WORK and TREE: the source with the series applied and this checkout as
# drivers/staging/zcache. Files that a new series leaves as they were keep
# their times, so that only the rest is built again.
kernel_tree() {
	WORK=$CACHE/work/$(printf '%s' "$ROOT" | sha256sum | cut -c1-8)
	TREE=$WORK/tree
	kt_series=$(cat "$ROOT/patches/$SERIES"/*.patch 2>/dev/null |
		sha256sum | cut -c1-16)
	mkdir -p "$WORK"
	# An earlier run was interrupted between two renames.
	[ -d "$TREE" ] || [ ! -d "$WORK/old" ] || mv "$WORK/old" "$TREE"
	if [ "$(cat "$WORK/source" 2>/dev/null)" != "$SRC_ID" ]; then
		# Another kernel's objects would look newer than this source. Its name
		# goes first: an interrupted removal must not pass for a tree.
		rm -f "$WORK/source"
		rm -rf "$WORK"
		mkdir -p "$WORK"
	elif [ "$(cat "$WORK/series" 2>/dev/null)" = "$kt_series" ]; then
		return 0
	fi
	drop_old_work
	stage "kernel tree: $SRC_ID with the series of patches/$SERIES"
	rm -rf "$WORK/new"
	cp -al "$SRC" "$WORK/new"
	for kt_patch in "$ROOT/patches/$SERIES"/*.patch; do
		[ -e "$kt_patch" ] || continue
		apply_patch "$kt_patch" "$WORK/new"
	done
	rm -rf "$WORK/new/drivers/staging/zcache"
	ln -s "$ROOT" "$WORK/new/drivers/staging/zcache"
	rm -f "$WORK/series"
	if [ -d "$TREE" ]; then
		keep_times
		rm -rf "$WORK/old"
		mv "$TREE" "$WORK/old"
	fi
	mv "$WORK/new" "$TREE"
	printf '%s\n' "$ROOT" >"$WORK/checkout"
	printf '%s\n' "$SRC_ID" >"$WORK/source"
	printf '%s\n' "$kt_series" >"$WORK/series"
	rm -rf "$WORK/old"
}

# Removes the builds of checkouts that are gone.
drop_old_work() {
	for dw_dir in "$CACHE"/work/*; do
		dw_root=$(cat "$dw_dir/checkout" 2>/dev/null) || continue
		[ -d "$dw_root" ] || rm -rf "$dw_dir"
	done
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
	tw_bin=${RUSTC%/*}
	say "RUSTC=$RUSTC" "HOSTRUSTC=$RUSTC" "RUSTDOC=$tw_bin/rustdoc" \
		"RUSTFMT=$tw_bin/rustfmt" "CLIPPY_DRIVER=$tw_bin/clippy-driver" \
		"BINDGEN=$BINDGEN" "$SMALL_DATA"
}

# The architecture that is built for.
KARCH=um

# kstep WHAT LOGNAME FOLDER TARGETS...
kstep() {
	ks_what=$1 ks_log=$2 ks_out=$3
	shift 3
	# shellcheck disable=SC2046
	step "$ks_what" "$ks_log" $(clean_env_words) make -C "$TREE" O="$ks_out" \
		"ARCH=$KARCH" $(tool_words) -j"$JOBS" "$@"
}

# What kernels are built with.
tool_versions() {
	say "$(version_of "$RUSTC")-$(version_of "clang$LLVM_SUFFIX")"
}

# The hash of all that the driver is built from.
driver_hash() {
	(cd "$ROOT" && find . \( -name .git -o -name out -o -name target \
		-o -name tests -o -name Documentation \) -prune -o -type f \
		\( -name '*.rs' -o -name Kbuild -o -name Kconfig -o -name '*.h' \) \
		-print0 | sort -z | xargs -0r sha256sum | sha256sum | cut -c1-16)
}

# configure FOLDER FRAGMENT...: tinyconfig and these, all of which must hold.
# Again when an option may have come or gone: make would stop and ask.
configure() {
	co_out=$1
	shift
	co_key=$(cat "$@" "$ROOT/Kconfig" "$WORK/source" "$WORK/series" |
		sha256sum | cut -c1-16)-$(tool_versions)
	[ "$(cat "$co_out/config-key" 2>/dev/null)" != "$co_key" ] || return 0
	kstep 'kernel configuration' config.log "$co_out" tinyconfig
	"$TREE/scripts/kconfig/merge_config.sh" -m -O "$co_out" \
		"$co_out/.config" "$@" >>"$LOG/config.log" 2>&1
	kstep 'kernel configuration, settled' config.log "$co_out" olddefconfig
	co_lost=$(grep -hE '^CONFIG_[A-Z0-9_]+=y' "$@" |
		grep -vxF -f "$co_out/.config" || :)
	[ -z "$co_lost" ] || die \
		"this kernel's Kconfig drops: $(printf '%s' "$co_lost" | tr '\n' ' ')" \
		"see what they depend on in $TREE"
	printf '%s\n' "$co_key" >"$co_out/config-key"
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
$(tool_versions) $(tool_words)"
	if [ -x "$LINUX" ] && [ "$(cat "$kb_out/key" 2>/dev/null)" = "$kb_key" ]; then
		return 0
	fi
	mkdir -p "$kb_out"
	rm -f "$kb_out/key"
	# shellcheck disable=SC2086
	configure "$kb_out" $kb_fragments
	kstep 'kernel build (minutes the first time)' build.log "$kb_out" linux
	printf '%s\n' "$kb_key" >"$kb_out/key"
}
