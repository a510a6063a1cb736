# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Two folders that are changed in the same ways at the same time, so that most
# pages are there twice while they come and go; no read may see a wrong byte.
# guest: ram=72M disk=256M words=zcache,zcache.dedup=all
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh

make_fs
for seed in 1 2; do
	pids=
	for folder in a b; do
		mkdir -p "/run/mnt/$folder"
		/run/bin/zcache-coherency run --root "/run/mnt/$folder" \
			--seconds 10 --seed "$seed" --files 25 \
			--squeeze-mib 16 &
		pids="$pids $!"
	done
	for pid in $pids; do
		wait "$pid" || fail "seed $seed: a byte was wrong"
	done
done
holds 'pages were stored' "$(counter eph_puts)" -gt 1000
holds 'pages were served' "$(counter eph_hits)" -gt 100
holds 'pages were shared' "$(counter dedup_puts)" -gt 100
holds 'none was corrupt' "$(counter corrupt_pages)" -eq 0
umount /run/mnt
nothing_held 'after umount'
holds 'no content is left' "$(counter pcd_count)" -eq 0
