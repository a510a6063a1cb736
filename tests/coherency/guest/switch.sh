# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# The file half goes off and on all the time while the exerciser changes files
# and compares what it reads. If off does not drop what is stored, it must fail.
# guest: ram=96M disk=256M words=zcache,nofrontswap,zcache.admission=all
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh
# shellcheck source=tests/coherency/guest/lib.sh
. /run/src/tests/coherency/guest/lib.sh

word=/sys/module/zcache/parameters/cleancache
skip=/sys/module/cleancache/parameters/skip_guards

# begin: switches it every 200 ms; end: no more, and it is on. TURNS is how
# often it went off.
begin() {
	rm -f /tmp/end
	{
		turns=0
		while [ ! -e /tmp/end ]; do
			sleep 0.2
			echo off >$word
			sleep 0.2
			echo on >$word
			turns=$((turns + 1))
		done
		echo $turns >/tmp/turns
	} &
	switcher=$!
	# Or the guest would go on with that after a failure.
	trap ': >/tmp/end' EXIT
}
end() {
	: >/tmp/end
	wait $switcher || fail 'it cannot be switched'
	TURNS=$(cat /tmp/turns)
	holds 'it is on' "$(cat $word)" = on
}

make ext4
begin
exercise ext4 200000 1
# A copy is compared when its page is put again before the next turn: enough of
# them for that.
exercise ext4 200000 2 --verify --widen 64
end
holds 'it went off many times' "$TURNS" -gt 20
holds 'pages were served in between' "$(counter eph_hits)" -gt 1000
needed stop
echo off >$word
nothing_held 'off'
echo on >$word

# A swap file is written to past the page cache. Folios that were read of it while
# the half was off must not be stored when it is on: they are old.
# swap_file GUARDS: SAME says whether it then reads as what is on the disk.
swap_file() {
	echo "$1" >$skip
	echo off >$word
	real_bytes 40M >/run/mnt/swap
	chmod 600 /run/mnt/swap
	mkswap /run/mnt/swap >/dev/null
	sync
	swapon /run/mnt/swap
	cat /run/mnt/swap >/dev/null
	sh -c 'echo $$ >/sys/fs/cgroup/small/cgroup.procs && exec "$@"' sh \
		/run/bin/zcache-tools swapper --mib 32 --seconds 2 --seed 3
	swapoff /run/mnt/swap
	echo on >$word
	echo none >$skip
	"$PROGRAM" evict /run/mnt/swap
	SAME=no
	dd if=/run/mnt/swap iflag=direct bs=64k status=none | cksum >/tmp/disk
	! cksum </run/mnt/swap | cmp -s - /tmp/disk || SAME=yes
	rm /run/mnt/swap
}
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
mkdir /sys/fs/cgroup/small
echo 16M >/sys/fs/cgroup/small/memory.max
swap_file none
holds 'a swap file reads as it is' "$SAME" = yes
swap_file swapoff
holds 'without swapoff it does not' "$SAME" = no

# Without the drop.
echo stop >$skip
found=
begin
for seed in 9 10 11 12 13 14; do
	"$PROGRAM" run --root /run/mnt --seconds 20 --seed $seed --workers 1 \
		>/tmp/said || {
		found=$seed
		break
	}
done
end
sed -n '/^WRONG/,/^operations/p' /tmp/said | head -n 20
[ -n "$found" ] || fail 'the exerciser passed without stop'
grep -q "^WRONG: seed $found" /tmp/said || fail 'it failed for another reason'
echo none >$skip
echo off >$word
nothing_held 'off, at the end'
echo on >$word
remove ext4
