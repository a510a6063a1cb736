#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck disable=SC2016
#
# With a warm cache nothing needs the network: set-up, a guest, the series.
# shellcheck source=tests/host/lib.sh
. "$(dirname "$0")/lib.sh"

alone() { unshare -n "$@"; }
if ! unshare -n true 2>/dev/null; then
	alone() { unshare -rn "$@"; }
	alone true 2>/dev/null || { echo 'no namespaces here: not tested'; exit 0; }
fi
! alone sh -c 'ip link 2>/dev/null | grep -q "state UP"' || fail 'a network'

# Under the lock of the run that this test belongs to.
ends 0 alone env ROOT="$ROOT" sh -euc '
	. "$ROOT/scripts/setup.sh"
	begin "set-up"
	set_up
	sh "$ROOT/scripts/guest" -k "$LINUX" -b "$BIN" -m 64M echo it boots'
says 'it boots'
! grep -q 'kernel build' "$TMP/said" || fail 'the cache is not warm'
says 'download nothing'
