# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# The guest's part of tests/coherency/long: the exerciser.
#   long-guest.sh KIND PAGES SEED
kind=$1 pages=$2 seed=$3
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh
# shellcheck source=tests/coherency/guest/lib.sh
. /run/src/tests/coherency/guest/lib.sh

make "$kind"
"$PROGRAM" run --root /run/mnt --pages "$pages" --seconds 80000 \
	--seed "$seed" --block "$block"
remove "$kind"
"$PROGRAM" guards remove_other dirty insert truncate || :
cat "$GUARDS" "${GUARDS%/*}/verified"
