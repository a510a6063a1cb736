# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034,SC2086,SC2154
# What the benchmarks share. Sourced after scripts/setup.sh.

# lru_gen_build: sets LRU_GEN, the guest kernel with the multi-generational
# LRU. It starts as a copy of the other guest kernel's build, which must be up
# to date.
lru_gen_build() {
	lg_out=$WORK/um-lru-gen
	LRU_GEN=$lg_out/linux
	lg_fragment=$ROOT/scripts/config/lru-gen.fragment
	lg_key="$(cat "$WORK/um/key") $(sha256sum <"$lg_fragment")"
	if [ -x "$LRU_GEN" ] && [ "$(cat "$lg_out/key" 2>/dev/null)" = "$lg_key" ]; then
		return 0
	fi
	if [ ! -d "$lg_out" ]; then
		rm -rf "$lg_out.new"
		cp -a "$WORK/um" "$lg_out.new"
		rm -f "$lg_out.new/key"
		mv "$lg_out.new" "$lg_out"
	fi
	rm -f "$lg_out/key"
	"$TREE/scripts/kconfig/merge_config.sh" -m -O "$lg_out" \
		"$WORK/um/.config" "$lg_fragment" >"$LOG/config.log" 2>&1
	kstep 'kernel with LRU_GEN: configuration' config.log "$lg_out" olddefconfig
	grep -qx CONFIG_LRU_GEN=y "$lg_out/.config" ||
		die 'this kernel drops CONFIG_LRU_GEN' 'see what it depends on'
	kstep 'kernel with LRU_GEN: build' build-lru-gen.log "$lg_out" linux
	printf '%s\n' "$lg_key" >"$lg_out/key"
}

# Guests of bench/policy. RAM_BYTES is a little less than what the kernel has of
# POLICY_RAM, so that four times as much fits the image.
POLICY_RAM=40M
RAM_BYTES=$((33 << 20))

# policy_image: sets IMAGE, an ext4 file system with the files 'real' (programs
# and libraries of this machine) and 'noise', 4 x RAM each.
policy_image() {
	IMAGE=$CACHE/image/policy-$RAM_BYTES.ext4
	[ ! -e "$IMAGE" ] || return 0
	rm -rf "$CACHE/image/new"
	mkdir -p "$CACHE/image/new/tree"
	# shellcheck disable=SC2016
	step 'files of programs, and of noise' image.log sh -ec '
		new=$1 bytes=$2
		find /usr/bin /usr/lib -type f -size +64k -size -100M | sort |
			xargs cat 2>/dev/null | head -c "$bytes" >"$new/tree/real"
		[ "$(stat -c %s "$new/tree/real")" -eq "$bytes" ]
		"$3" noise --to "$new/tree/noise" --bytes "$bytes"
		mke2fs -q -t ext4 -m 0 -d "$new/tree" "$new/image" \
			"$((bytes / 1048576 * 2 + 32))M"' \
		sh "$CACHE/image/new" "$((4 * RAM_BYTES))" "$BIN/zcache-tools"
	mv "$CACHE/image/new/image" "$IMAGE"
	rm -rf "$CACHE/image/new"
}

# policy_guest KERNEL NAME BOOT-WORDS [SETTING]: one guest of this workload. Its
# records are in PA_OUT, until the next one; DIR is where they are to be kept.
policy_guest() {
	DIR=$OUT/bench/$workload-$device
	PA_OUT=$RUNDIR/guest
	rm -rf "$PA_OUT"
	mkdir -p "$PA_OUT" "$DIR"
	cat "$IMAGE" >/dev/null
	rm -f "$RUNDIR/swap"
	truncate -s 128M "$RUNDIR/swap"
	"$BIN/zcache-tools" meter --to "$PA_OUT" -- \
		sh "$ROOT/scripts/guest" -k "$1" -m "$POLICY_RAM" -w "$3" -b "$BIN" \
		-d "r:$IMAGE" -d "$RUNDIR/swap" -t 1800 -o "$PA_OUT" \
		sh /run/src/bench/guest-policy "$workload" "$2" "$bytes" "$rounds" \
		"$asked_ms" "${4:-}" &
	CHILD_SH=$!
	pa_rc=0
	wait "$CHILD_SH" || pa_rc=$?
	CHILD_SH=
	cp "$PA_OUT/console" "$DIR/$2.console" 2>/dev/null || :
	[ "$pa_rc" -eq 0 ] || die "the guest '$2' failed" \
		"its console is $DIR/$2.console"
}

# policy_arm KERNEL NAME BOOT-WORDS [SETTING]: the same for one arm of a pair, its
# record in DIR/NAME-PAIR.json.
policy_arm() {
	policy_guest "$1" "$2" "$3" "${4:-}"
	mv "$PA_OUT/load.json" "$DIR/$2-$pair.json"
}

# More than the others have: a raised watermark of 4 MiB, as a kernel gets one when
# a page block is broken up, would be an eighth of their memory, and decide.
OOM_RAM=128M
OOM_SWAP=30M

# policy_oom PAIRS: pairs of guests, with a program at each of five sizes; false if
# zcache had more killed.
policy_oom() {
	DIR=$OUT/bench/oom
	rm -rf "$DIR"
	po_records=
	for po_seed in $(seq "$1"); do
		stage "RAM x 0.9 to 1.3: seed $po_seed of $1"
		if [ $((po_seed % 2)) -eq 1 ]; then
			oom_guest stock ''
			oom_guest zcache zcache
		else
			oom_guest zcache zcache
			oom_guest stock ''
		fi
		po_records="$po_records $DIR/stock-$po_seed/oom.json"
		po_records="$po_records $DIR/zcache-$po_seed/oom.json"
	done
	"$BIN/zcache-tools" oom-report --json "$OUT/bench.json" $po_records
}

# oom_guest ARM WORDS
oom_guest() {
	og_out=$DIR/$1-$po_seed
	mkdir -p "$og_out"
	rm -f "$RUNDIR/swap"
	truncate -s "$OOM_SWAP" "$RUNDIR/swap"
	sh "$ROOT/scripts/guest" -k "$LINUX" -m "$OOM_RAM" -w "$2" -b "$BIN" \
		-d "r:$IMAGE" -d "$RUNDIR/swap" -t 900 -O -o "$og_out" \
		sh /run/src/bench/guest-oom "$po_seed" &
	CHILD_SH=$!
	og_rc=0
	wait "$CHILD_SH" || og_rc=$?
	CHILD_SH=
	[ "$og_rc" -eq 0 ] || die "the guest '$1' failed" \
		"its console is $og_out/console"
}
