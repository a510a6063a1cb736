# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# The guest's part of tests/coherency/long.
suite=$1 kinds=$2 many=$3 SEED=$4
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh
# shellcheck source=tests/coherency/guest/lib.sh
. /run/src/tests/coherency/guest/lib.sh

case $suite in
exerciser)
	make "$kinds"
	"$PROGRAM" run --root /run/mnt --pages "${many:-100000000}" \
		--seconds 80000 --seed "$SEED" --block "$block"
	remove "$kinds"
	;;
fsx)
	[ "$kinds" != all ] || kinds=$FSX_KINDS
	# shellcheck disable=SC2046
	fsx_for "${many:-3600}" 20000 $(echo "$kinds" | tr ',' ' ')
	;;
esac
"$PROGRAM" guards remove_other dirty insert truncate || :
cat "$GUARDS" "${GUARDS%/*}/verified"
