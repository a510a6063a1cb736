#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A patch that does not fit stops the set-up, which names the patch and the
# file: a changed place, a missing file, a file that is there already.
# shellcheck source=tests/host/lib.sh
. "$(dirname "$0")/lib.sh"

apply() {
	# shellcheck disable=SC2016
	ZCACHE_CACHE=$TMP/cache ROOT=$ROOT sh -euc '
		. "$ROOT/scripts/setup.sh"
		SRC_ID=this-source
		mkdir -p "$LOG"
		apply_patch "$1" "$2"' sh "$1" "$2"
}

fresh() {
	rm -rf "$TMP/tree"
	mkdir -p "$TMP/tree/mm"
	seq 1 40 >"$TMP/tree/mm/filemap.c"
}

mkdir "$TMP/a" "$TMP/b"
mkdir "$TMP/a/mm" "$TMP/b/mm"
seq 1 40 >"$TMP/a/mm/filemap.c"
sed 's/^20$/twenty/' "$TMP/a/mm/filemap.c" >"$TMP/b/mm/filemap.c"
(cd "$TMP" && diff -u a/mm/filemap.c b/mm/filemap.c >fits.patch) || :

fresh
ends 0 apply "$TMP/fits.patch" "$TMP/tree"
cmp "$TMP/tree/mm/filemap.c" "$TMP/b/mm/filemap.c"

fresh
sed -i 's/^19$/other/' "$TMP/tree/mm/filemap.c"
ends 1 apply "$TMP/fits.patch" "$TMP/tree"
says 'fits.patch does not fit this-source, at: mm/filemap.c'

fresh
rm "$TMP/tree/mm/filemap.c"
ends 1 apply "$TMP/fits.patch" "$TMP/tree"
says 'fits.patch does not fit this-source, at: mm/filemap.c'

fresh
(cd "$TMP" && diff -uN a/mm/new.c b/mm/filemap.c | sed 's,b/mm/filemap,b/mm/new,' \
	>new.patch) || :
seq 1 3 >"$TMP/tree/mm/new.c"
ends 1 apply "$TMP/new.patch" "$TMP/tree"
says 'new.patch does not fit this-source, at: mm/new.c'
