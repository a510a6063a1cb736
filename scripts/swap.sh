# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034,SC2154
# The swap workload of scripts/run, which sources this and sets LIMIT, ASKED_MS
# and RESULT: a program whose data overflows RAM, without zcache, with it, and
# with RAM to spare.

# Data of 1.5 times the memory that the kernel has of this much RAM.
SWAP_RAM=64M
SWAP_RAM_TO_SPARE=384M
SWAP_MIB=86
SWAP_VISIT_MIB=8
SWAP_PASSES=2
SWAP_DISK=256M

# swap_arm NAME RAM BOOT-WORDS: one guest with a new swap disk, its record in
# out/arms/swap-NAME/swap.json.
swap_arm() {
	sa_out=$OUT/arms/swap-$1
	rm -rf "$sa_out"
	mkdir -p "$sa_out"
	rm -f "$RUNDIR/swap"
	truncate -s "$SWAP_DISK" "$RUNDIR/swap"
	stage "guest '$1', swapping: $2 of RAM, boot words: ${3:-none}"
	sh "$ROOT/scripts/guest" -k "$LINUX" -m "$2" -w "$3" -b "$BIN" \
		-d "$RUNDIR/swap" -t "$LIMIT" -o "$sa_out" \
		sh /run/src/scripts/guest-swap "$1" "$SRC" "$SWAP_MIB" \
		"$SWAP_VISIT_MIB" "$SWAP_PASSES" "$ASKED_MS" &
	CHILD_SH=$!
	sa_rc=0
	wait "$CHILD_SH" || sa_rc=$?
	CHILD_SH=
	[ "$sa_rc" -eq 0 ] || die "the swapping guest '$1' failed (status $sa_rc)" \
		"its console is $sa_out/console"
}

# swap_job NAME: three arms of the program, added to out/NAME.json.
swap_job() {
	run_dir
	swap_arm none "$SWAP_RAM" ''
	swap_arm zcache "$SWAP_RAM" zcache
	swap_arm ram "$SWAP_RAM_TO_SPARE" ''
	rm -rf "$RUNDIR"
	RUNDIR=
	sj_rc=0
	"$BIN/zcache-tools" swap-report --json "$OUT/$1.json" \
		"$OUT/arms/swap-none/swap.json" "$OUT/arms/swap-zcache/swap.json" \
		"$OUT/arms/swap-ram/swap.json" || sj_rc=$?
	say "figures: out/$1.json, under swap"
	[ "$sj_rc" -eq 0 ] || RESULT=1
}
