# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# What sysfs has and what Documentation/ABI describes are the same files; the 28
# of zcache V2 are among them, each in its format; everybody may read all.
# guest: ram=96M disk=96M words=zcache,zcache_timing
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh
ABI=/run/src/Documentation/ABI/testing/sysfs-kernel-mm-zcache

# documented PREFIX: names behind PREFIX; where one entry is for many files,
# which has '<' in its name, they are what rows of its table begin with.
documented() {
	awk -v prefix="$1" '
		/^What:/ {
			here = index($2, prefix) == 1
			name = substr($2, length(prefix) + 1)
			many = name ~ /</
			if (here && !many) print name
			next
		}
		here && many && /^\t\t[a-z][a-z0-9_]*\t/ { print $1 }
	' "$ABI" | sort -u
}

documented "$Z/" >/tmp/documented
find "$Z" -type f -exec basename {} \; | sort >/tmp/there
diff /tmp/documented /tmp/there || fail 'sysfs (>) is not what is documented (<)'
holds 'there are many' "$(wc -l </tmp/there)" -gt 80
documented /sys/module/zcache/parameters/ >/tmp/documented
find /sys/module/zcache/parameters -type f -exec basename {} \; | sort >/tmp/there
diff /tmp/documented /tmp/there || fail 'so are the parameters'
find "$Z" ! -type d ! -perm -444 >/tmp/hidden
holds 'everybody may read all' "$(wc -l </tmp/hidden)" -eq 0

# Not all zero.
make_fs
real_bytes 80M >/run/mnt/file
sync
squeeze 40
cat /run/mnt/file >/dev/null
cat /run/mnt/file >/dev/null

awk '/^What:/ { here = /<as in zcache V2>/ }
	here && /^\t\t[a-z][a-z0-9_]*\t/ { print $1 }' "$ABI" >/tmp/v2
holds 'V2 had 28' "$(sort -u /tmp/v2 | wc -l)" -eq 28
while read -r name; do
	case $name in
	zbud_unbuddied_list_counts) form='([0-9]+ ){63}[0-9]+' ;;
	zbud_cumul_chunk_counts)
		form='([0-9]+ ){64}<=21:[0-9]+ <=31:[0-9]+ <=42:[0-9]+, mean:[0-9]+'
		;;
	*) form='[0-9]+' ;;
	esac
	if [ "$(wc -l <"$Z/$name")" -ne 1 ] || ! grep -qxE "$form" "$Z/$name"; then
		fail "$name has another format: $(cat "$Z/$name")"
	fi
done </tmp/v2
awk '/always 0/ { print $1 }' "$ABI" | sort -u >/tmp/zero
while read -r name; do
	holds "$name" "$(counter "$name")" -eq 0
done </tmp/zero

# The parts are the whole.
holds 'misses and hits are all gets' "$(counter eph_gets)" -eq \
	$(($(counter eph_hits) + $(counter eph_misses)))
holds 'reasons are all refusals' "$(counter failed_eph_puts)" -eq \
	$(($(counter compress_poor) - $(counter pers_compress_poor) + \
	$(counter refused_full) + $(counter refused_poor_file) + \
	$(counter refused_stream) + \
	$(counter refused_no_memory)))
holds 'those not tried are some of those without room' \
	"$(($(counter refused_unseen) + $(counter refused_neighbours)))" -le \
	"$(counter refused_full)"
holds 'chunk counts are all compressed pages' \
	"$(awk '{ for (i = 1; i <= 64; i++) n += $i; print n }' \
		"$Z/zbud_cumul_chunk_counts")" -eq "$(counter zbud_cumul_zpages)"

timed eph_put
timed eph_get
