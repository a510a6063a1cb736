# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# A parameter that is out of range: one clear line, and the default holds.
# guest: ram=96M words=zcache,zcache.limit_percent=500
# shellcheck source=tests/guest/lib.sh
. /run/src/tests/guest/lib.sh

dmesg | grep 'limit_percent.*500' | grep -v 'ernel command line' >/tmp/lines || :
cat /tmp/lines
holds 'one line in dmesg' "$(wc -l </tmp/lines)" -eq 1
grep -q limit_percent /tmp/lines || fail 'it does not name the parameter'
pages=$(($(awk '/^MemTotal/ { print $2 }' /proc/meminfo) / 4))
# Half of RAM, give or take what "RAM" leaves out.
holds 'limit above 45 % of RAM' "$(counter limit_frames)" -gt $((pages * 45 / 100))
holds 'limit below 55 % of RAM' "$(counter limit_frames)" -lt $((pages * 55 / 100))
