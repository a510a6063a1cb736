# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034,SC2015,SC2016,SC2013
# The patches of patches/7.3: whether they fit a tree, and the whole series with
# the driver in it. Sourced after lib.sh.

# The patches, in order.
series_patches() {
	for sp_patch in "$ROOT/patches/$SERIES"/*.patch; do
		[ ! -e "$sp_patch" ] || say "$sp_patch"
	done
}

# touched PATCH...: the files that patches change or make.
touched() {
	[ $# -gt 0 ] || return 0
	sed -n -e 's,^--- a/\([^[:space:]]*\).*,\1,p' \
		-e 's,^+++ b/\([^[:space:]]*\).*,\1,p' "$@" | sort -u
}

# copy_touched TREE FOLDER PATCH...: what patches need of a tree.
copy_touched() {
	ct_tree=$1 ct_to=$2
	shift 2
	for ct_file in $(touched "$@"); do
		[ -e "$ct_tree/$ct_file" ] || continue
		mkdir -p "$ct_to/$(dirname "$ct_file")"
		cp -p "$ct_tree/$ct_file" "$ct_to/$ct_file"
	done
}

# put_patch PATCH TREE LOG [WORDS...]: without fuzz unless the words say else; a
# patch that lands in the wrong place of mm/ is worse than none.
put_patch() {
	pp_patch=$1 pp_tree=$2 pp_log=$3
	shift 3
	patch -p1 -f -N -F0 --no-backup-if-mismatch "$@" -d "$pp_tree" \
		-i "$pp_patch" >"$pp_log" 2>&1
}

# misfits LOG: the files at which patch failed; it names them in one of three
# ways.
misfits() {
	sed -n -e 's/.*saving rejects to file \(.*\)\.rej$/\1/p' \
		-e 's,^|+++ b/\([^[:space:]]*\).*,\1,p' \
		-e 's/^The next patch would create the file \(.*\),$/\1/p' \
		"$1" | sort -u | tr '\n' ' '
}

# try_series TREE: a line a patch, "NAME: applies", "applies with fuzz", or
# where it fails; the parts that fit of one that fails are there for the next.
# True if each applies without fuzz. Nothing in the tree changes.
try_series() {
	ts_dir=$(mktemp -d) ts_rc=0
	# shellcheck disable=SC2046
	copy_touched "$1" "$ts_dir/tree" $(series_patches)
	mkdir -p "$ts_dir/tree"
	for ts_patch in $(series_patches); do
		ts_name=${ts_patch##*/}
		if put_patch "$ts_patch" "$ts_dir/tree" "$ts_dir/log" --dry-run; then
			ts_how=applies
		elif put_patch "$ts_patch" "$ts_dir/tree" "$ts_dir/log" --dry-run -F2
		then
			ts_how='applies with fuzz' ts_rc=1
		else
			ts_how='' ts_rc=1
		fi
		put_patch "$ts_patch" "$ts_dir/tree" "$ts_dir/log" -F2 || :
		say "$ts_name: ${ts_how:-fails at $(misfits "$ts_dir/log")}"
	done
	rm -rf "$ts_dir"
	return "$ts_rc"
}

# apply_patch PATCH TREE: or die, with both their names.
apply_patch() {
	put_patch "$1" "$2" "$LOG/patch.log" || {
		ap_files=$(misfits "$LOG/patch.log")
		die "${1#"$ROOT"/} does not fit $SRC_ID, at: ${ap_files:-(see the log)}" \
			"use another $SERIES.y with KERNEL_SRC=; the log is $LOG/patch.log"
	}
}

# The files that make up the driver in a kernel tree, as the series brings them.
driver_files() {
	(cd "$ROOT" && find . \( -name .git -o -name out -o -name target \
		-o -name tests -o -name benches -o -name examples \
		-o -name fuzz -o -name peers -o -name scripts -o -name patches \) \
		-prune -o -type f \( -name '*.rs' -o -name Kbuild -o -name Kconfig \
		-o -name TODO -o -name '*.rst' -o -path '*/ABI/*' \) -print |
		sed 's,^\./,,' | sort)
}

# driver_place FILE: where a file of this checkout has its place in the kernel.
driver_place() {
	case $1 in
	Documentation/ABI/*) say "$1" ;;
	*) say "drivers/staging/zcache/$1" ;;
	esac
}

# The driver as one patch for git am: all files new.
driver_patch() {
	cat <<-END
		From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
		From: zcache developers <zcache@localhost>
		$(grep -h -m 1 '^Date: ' "$ROOT/patches/$SERIES"/*.patch | tail -n 1)
		Subject: [PATCH] staging: zcache: a compressed page cache

		Keeps file pages that reclaim throws away compressed in memory, so that
		reading them again does not cost a disk access. What it does, and why
		it does it that way, is in its Documentation folder.
		---
	END
	for dr_file in $(driver_files); do
		dr_path=$(driver_place "$dr_file")
		printf 'diff --git a/%s b/%s\nnew file mode 100644\n' \
			"$dr_path" "$dr_path"
		printf -- '--- /dev/null\n+++ b/%s\n@@ -0,0 +1,%d @@\n' \
			"$dr_path" "$(wc -l <"$ROOT/$dr_file")"
		sed 's/^/+/' "$ROOT/$dr_file"
	done
}

# write_series FOLDER: the patches, and before the one that makes the build look
# for it the driver, numbered for git am.
write_series() {
	ws_all=$(series_patches | wc -l) ws_all=$((ws_all + 1)) ws_number=0
	ws_driver=$(series_patches | xargs grep -l '^+++ b/drivers/staging/Kconfig' |
		head -n 1)
	rm -rf "$1"
	mkdir -p "$1"
	driver_patch >"$1/driver"
	for ws_patch in $(series_patches); do
		if [ "$ws_patch" = "$ws_driver" ]; then
			number_patch "$1/driver" "$1" staging-zcache-a-compressed-page-cache.patch
		fi
		ws_name=${ws_patch##*/}
		number_patch "$ws_patch" "$1" "${ws_name#[0-9]*-}"
	done
	rm "$1/driver"
}

# number_patch FILE FOLDER NAME: the next one of write_series.
number_patch() {
	ws_number=$((ws_number + 1))
	sed "1,/^Subject: /s,^Subject: \[PATCH[^]]*\],Subject: [PATCH $ws_number/$ws_all]," \
		"$1" >"$2/$(printf '%04d' "$ws_number")-$3"
}

# one_patch FOLDER: what write_series wrote there, as a single patch against SRC.
one_patch() {
	op_dir=$(mktemp -d)
	mkdir "$op_dir/a"
	copy_touched "$SRC" "$op_dir/a" "$1"/*.patch
	cp -a "$op_dir/a" "$op_dir/b"
	for op_patch in "$1"/*.patch; do
		put_patch "$op_patch" "$op_dir/b" "$op_dir/log" ||
			die "$op_patch does not fit $SRC_ID"
	done
	say "zcache for Linux $SERIES: the series and the driver. patch -p1."
	for op_file in $(touched "$1"/*.patch); do
		[ -e "$op_dir/b/$op_file" ] || continue
		say "diff --git a/$op_file b/$op_file"
		op_old=a/$op_file
		if [ ! -e "$op_dir/$op_old" ]; then
			op_old=/dev/null
			say 'new file mode 100644'
		fi
		(cd "$op_dir" && diff -up --label "$op_old" --label "b/$op_file" \
			"$op_old" "b/$op_file") || :
	done
	rm -rf "$op_dir"
}
