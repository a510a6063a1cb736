#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck disable=SC2016
#
# The series with the driver in it: git takes it commit by commit; as one patch
# on a pristine tree it gives the tree that is tested here, with the driver in
# place of the symlink, and the driver builds there.
# shellcheck source=tests/host/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/setup.sh
. "$ROOT/scripts/setup.sh"
trap 'rm -rf "$TMP" "${NEW:-}"' EXIT
look
lock_cache
find_toolchain
kernel_source
kernel_tree
TREE_BUILT=$TREE UM=$WORK/um

write_series "$TMP/series"
one_patch "$TMP/series" >"$TMP/one.patch"

if command -v git >/dev/null; then
	mkdir "$TMP/git"
	copy_touched "$SRC" "$TMP/git" "$TMP/series"/*.patch
	cd "$TMP/git"
	export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
	export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a GIT_COMMITTER_NAME=a
	export GIT_COMMITTER_EMAIL=a
	git init -q
	git add .
	git commit -qm pristine
	ends 0 git am -q "$TMP/series"/*.patch
	[ "$(git rev-list --count HEAD)" -eq \
		$(($(series_patches | wc -l) + 2)) ] || fail 'not a commit each'
fi

# A pristine tree, beside the built one as its files are links.
NEW=$WORK/series-test
rm -rf "$NEW"
mkdir "$NEW"
cp -al "$SRC" "$NEW/tree"
ends 0 patch -p1 -F0 -N -d "$NEW/tree" -i "$TMP/one.patch"
! grep -q 'offset\|fuzz' "$TMP/said" || fail 'it does not fit exactly'
for file in $(touched "$TMP/one.patch"); do
	if [ -d "$TMP/git" ]; then
		cmp "$TMP/git/$file" "$NEW/tree/$file" || fail "git am and patch differ"
	fi
	case $file in
	Documentation/ABI/*) cmp "$ROOT/$file" "$NEW/tree/$file" ;;
	*) cmp "$TREE_BUILT/$file" "$NEW/tree/$file" ;;
	esac || fail "not as in the tree that is built: $file"
	# With the time of its twin: make then knows that it is built.
	touch -r "$TREE_BUILT/$file" "$NEW/tree/$file" 2>/dev/null || :
done
! [ -L "$NEW/tree/drivers/staging/zcache" ] || fail 'still a symlink'

# What the guest's kernel was built into, moved to the new tree, so that only the
# driver is left to build.
cp -a "$UM" "$NEW/um"
grep -rlF --include='*.cmd' --include=Makefile --include='*.d' \
	-e "$TREE_BUILT" -e "$UM" "$NEW/um" | xargs sed -i -e "s,$TREE_BUILT,$NEW/tree,g" -e "s,$UM,$NEW/um,g"
rm -rf "$NEW/um/drivers/staging/zcache"
TREE=$NEW/tree
kstep 'the driver, from the one patch' test-series-build.log "$NEW/um" \
	drivers/staging/zcache/
[ -s "$NEW/um/drivers/staging/zcache/zcache.o" ] || fail 'no object file'
