# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034
# The guest's part of tests/coherency/fsx: one kind of file system, whose file is
# reclaimed all the time.
#   fsx-guest.sh KIND SECONDS SEED
kind=$1 part=$2 SEED=$3
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh
# shellcheck source=tests/coherency/guest/lib.sh
. /run/src/tests/coherency/guest/lib.sh

# A new seed, and a new file, every so many steps.
STEPS=1000

# Since boot.
seconds() { cut -d . -f 1 /proc/uptime; }

# round SEED: one run of fsx, on a file that is made for it.
round() {
	: >/run/mnt/fsx
	"$PROGRAM" evict --every-ms 5 /run/mnt/fsx &
	evict=$!
	status=0
	/run/bin/fsx -q -S "$1" -N "$STEPS" -P /tmp -f /tmp/fsx.toml \
		/run/mnt/fsx >/tmp/said 2>&1 || status=$?
	# fsx removes its file in the end, and that ends it as well.
	kill "$evict" 2>/dev/null || :
	wait "$evict" 2>/dev/null || :
	[ "$status" -eq 0 ] || {
		tail -n 60 /tmp/said
		fail "fsx on $kind, seed $1, $STEPS steps"
	}
}

make "$kind"
fsx_settings "$kind"
start=$(seconds) rounds=0 took=0
# On a busy machine, so many rounds all the same: some guards are seldom needed.
while [ $took -lt "$part" ] || [ $((rounds * 12)) -lt "$part" ]; do
	round "$SEED"
	rounds=$((rounds + 1)) SEED=$((SEED + 1))
	took=$(($(seconds) - start))
done
hits=$(counter eph_hits)
remove "$kind"
echo "fsx on $kind: $rounds seeds, the last $((SEED - 1))," \
	"$((rounds * STEPS)) steps in $took s, $hits pages served, none wrong"
holds "fsx on $kind: pages were served" "$hits" -gt $((rounds * STEPS / 400))
cat "$GUARDS" >/run/out/guards
# What else fsx can reach is counted over all kinds: see tests/coherency/fsx.
needed dirty insert truncate super
if grep -qw zcache_corrupt /proc/cmdline; then
	holds 'damage was found' "$(counter corrupt_pages)" -gt 0
fi
