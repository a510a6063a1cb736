# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# The guest cannot change the host: its root and the checkout give EROFS, the
# places where it may write are its own.
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh

for place in / /etc /usr /run/src /run/bin; do
	said=$(mkdir "$place/zcache-test" 2>&1) && fail "$place is writable"
	case $said in
	*'Read-only file system'*) echo "ok: $place: EROFS" ;;
	*) fail "$place: not EROFS but: $said" ;;
	esac
done
for place in /tmp /run; do
	mkdir "$place/zcache-test" || fail "$place is not writable"
	holds "$place is not the host's" \
		"$(stat -f -c %T "$place")" = tmpfs
done
