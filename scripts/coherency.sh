# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034,SC2046,SC2086
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
