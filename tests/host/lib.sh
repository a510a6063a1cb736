# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034
# What the host tests share. A test ends with 0 if all held.
set -eu
ROOT=$(cd "$(dirname "$0")/../.." && pwd -P)
TMP=$(mktemp -d)
trap 'rm -rf "$TMP"' EXIT

fail() {
	echo "FAIL: $*"
	[ ! -e "$TMP/said" ] || sed 's/^/    /' "$TMP/said"
	exit 1
}

# ends STATUS COMMAND...: runs it, keeps what it said, wants that status.
ends() {
	want=$1
	shift
	rc=0
	"$@" >"$TMP/said" 2>&1 </dev/null || rc=$?
	[ "$rc" -eq "$want" ] || fail "status $rc instead of $want: $*"
}

# says TEXT: the last command said it.
says() { grep -qF -- "$1" "$TMP/said" || fail "it did not say: $1"; }
