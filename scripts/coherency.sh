# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2015,SC2034,SC2046,SC2086
# The kernel of the coherency tests. Sourced after kernel.sh.

# Sets COHERENCY: the guest kernel with the checks of cleancache. It starts as
# a copy of the other guest kernel's build, so that little more than the file
# systems is compiled. That one must be up to date.
coherency_build() {
	cb_out=$WORK/um-coherency
	COHERENCY=$cb_out/linux
	cb_fragment=$ROOT/scripts/config/coherency.fragment
	cb_key="$(cat "$WORK/um/key") $(sha256sum <"$cb_fragment")"
	if [ -x "$COHERENCY" ] &&
		[ "$(cat "$cb_out/key" 2>/dev/null)" = "$cb_key" ]; then
		return 0
	fi
	if [ ! -d "$cb_out" ]; then
		rm -rf "$cb_out.new"
		cp -a "$WORK/um" "$cb_out.new"
		rm -f "$cb_out.new/key"
		mv "$cb_out.new" "$cb_out"
	fi
	rm -f "$cb_out/key"
	"$TREE/scripts/kconfig/merge_config.sh" -m -O "$cb_out" \
		"$WORK/um/.config" "$cb_fragment" >"$LOG/config.log" 2>&1
	kstep 'coherency kernel: configuration' config.log "$cb_out" olddefconfig
	cb_lost=$(grep -hE '^CONFIG_[A-Z0-9_]+=y' "$cb_fragment" |
		grep -vxF -f "$cb_out/.config" || :)
	[ -z "$cb_lost" ] || die \
		"this kernel's Kconfig drops: $(printf '%s' "$cb_lost" | tr '\n' ' ')" \
		"see what they depend on in $TREE"
	kstep 'coherency kernel: build' build-coherency.log "$cb_out" linux
	printf '%s\n' "$cb_key" >"$cb_out/key"
}

FSX_PIN=0.3.2

# diod, a server of 9p, in BIN. Unpacked and not installed: the package would
# start it. Where that fails, so does its test.
diod_tool() {
	di_dir=$CACHE/tools/diod
	rm -rf "${BIN:?}/9p"
	if [ ! -d "$di_dir" ] && [ "$DISTRO" != other ]; then
		stage 'diod, a server of 9p, by apt'
		rm -rf "$CACHE/tools/new"
		mkdir -p "$CACHE/tools/new/deb/partial"
		# What diod wants and this machine has not; no root, no lock.
		# shellcheck disable=SC2016
		spawn "$LOG/test-diod.log" sh -ec '
			cd "$1"
			apt-get -q -y --no-install-recommends --download-only \
				-o Debug::NoLocking=1 -o Dir::Cache::archives="$1/deb" \
				install diod
			for deb in deb/*.deb; do dpkg -x "$deb" .; done' \
			sh "$CACHE/tools/new" && mv "$CACHE/tools/new" "$di_dir" || :
	fi
	mkdir "$BIN/9p"
	if [ -d "$di_dir" ]; then
		find "$di_dir/usr/lib" "$di_dir/usr/sbin/diod" -name '*.so.*' \
			-o -name diod -type f
	else
		command -v diod
	fi | xargs -r -I FILE cp -d FILE "$BIN/9p"
}

# What only guests of these tests run, in BIN.
coherency_tools() {
	diod_tool
	ct_fsx=$CACHE/tools/fsx-$FSX_PIN
	if [ ! -x "$ct_fsx/bin/fsx" ]; then
		rm -rf "$CACHE/tools/new"
		step "fsx $FSX_PIN, by cargo" fsx.log "$CARGO" install --locked \
			--quiet --root "$CACHE/tools/new" --version "$FSX_PIN" fsx
		mv "$CACHE/tools/new" "$ct_fsx"
	fi
	cp "$ct_fsx/bin/fsx" "$BIN/fsx"
}

# The whole suite; for scripts/test, whose functions it uses.
coherency_suite() {
	coherency_build
	coherency_tools
	cargo_suite coherency "$ROOT/tests/coherency"
	stage 'coherency: which file systems take part'
	if (cd "$TREE" && grep -rl 'FS_CLEANCACHE' fs | sort) |
		diff "$ROOT/tests/coherency/opted-in" -; then
		result coherency 'these file systems take part and no other' passed
	else
		result coherency 'these file systems take part and no other' failed
	fi
	# Two minutes on each kind, on the processor that the other guests leave.
	# One in 16 compressed pages is damaged.
	stage 'coherency: fsx begins, beside what follows'
	cs_fsx=$LOG/test-coherency-fsx.log
	sh "$ROOT/tests/coherency/fsx" "$COHERENCY" "$BIN" "$OUT/coherency-fsx" \
		120 1 zcache_corrupt >"$cs_fsx" 2>&1 </dev/null 9>&- &
	CHILD_SH=$!
	guest_tests coherency "$COHERENCY" "$ROOT/tests/coherency/guest"
	cs_pages=0 cs_served=0
	for cs_sum in "$OUT"/coherency/*/pages; do
		[ ! -e "$cs_sum" ] || cs_pages=$((cs_pages + $(cat "$cs_sum")))
	done
	for cs_sum in "$OUT"/coherency/*/served; do
		[ ! -e "$cs_sum" ] || cs_served=$((cs_served + $(cat "$cs_sum")))
	done
	cs_name="$cs_pages pages verified, $cs_served of them served by zcache"
	if [ "$cs_pages" -ge 1000000 ] && [ "$cs_served" -ge 100000 ]; then
		result coherency "$cs_name" passed
	else
		result coherency "$cs_name: too few" failed
	fi
	say "  $cs_name"
	on_and_off
	stage 'coherency: fsx ends'
	cs_rc=0
	wait "$CHILD_SH" || cs_rc=$?
	CHILD_SH=
	if [ "$cs_rc" -eq 0 ]; then
		result coherency 'fsx, two minutes on each file system' passed
	else
		result coherency 'fsx, two minutes on each file system' failed
		say "  the consoles: $OUT/coherency-fsx/*/console"
	fi
	tail -n 60 "$cs_fsx" | cut -c1-160
}

# The suites of tests/fs.list, with zcache and without.
on_and_off() {
	oo_rc=0
	for oo_word in on off; do
		stage "coherency: tests/fs.list with zcache $oo_word"
		oo_log=$LOG/test-coherency-fs-list-$oo_word.log
		spawn "$oo_log" sh "$ROOT/scripts/guest-test" "$COHERENCY" "$BIN" \
			"$ROOT/tests/coherency/fs-list/$oo_word.sh" \
			"$OUT/coherency/fs-list-$oo_word" || {
			oo_rc=1
			tail -n 25 "$oo_log" | cut -c1-160
		}
	done
	if [ "$oo_rc" -eq 0 ] && [ -s "$OUT/coherency/fs-list-on/results" ] &&
		diff "$OUT/coherency/fs-list-on/results" \
			"$OUT/coherency/fs-list-off/results"; then
		result coherency 'tests/fs.list ends alike on and off' passed
	else
		result coherency 'tests/fs.list ends alike on and off' failed
	fi
}
