#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck disable=SC2016
#
# Both commands from nothing, in a fresh minimal Debian: as root,
#   system.sh SUITE FOLDER [COMMAND...]
# SUITE is bookworm or trixie. FOLDER, of 12 GB or more, gets a chroot with
# this checkout's last commit in it. Without COMMAND, run and test run there, and
# run once more without a network; the last lines tell how each ended.
set -eu
ROOT=$(cd "$(dirname "$0")/../.." && pwd -P)
suite=$1 folder=$2
shift 2
chroot=$folder/$suite
mirror=$(apt-get --no-release-info indextargets --format '$(REPO_URI) $(RELEASE)' \
	'Created-By: Packages' | awk '$2 !~ /security|updates|backports/ { print $1; exit }')

if [ ! -e "$chroot/ready" ]; then
	rm -rf "$chroot"
	mkdir -p "$chroot"
	debootstrap --variant=minbase "$suite" "$chroot" "$mirror"
	# Newer compilers than the release had come with its updates.
	for part in "$suite" "$suite-updates"; do
		echo "deb $mirror $part main"
	done >"$chroot/etc/apt/sources.list"
	cp /etc/resolv.conf "$chroot/etc/resolv.conf"
	# A network that signs for others is trusted there if it is here.
	mkdir -p "$chroot/usr/local/share"
	cp -r /usr/local/share/ca-certificates "$chroot/usr/local/share/" || :
	: >"$chroot/ready"
fi

# Mounts of its own, gone with the last process in them.
[ $# -gt 0 ] || set -- '
	used() { du -sxm --exclude=./dev --exclude=./proc . | cut -f1; }
	timed() {
		began=$(date +%s) rc=0
		"$@" || rc=$?
		[ "$rc" -eq 0 ] || all=1
		echo "$*: status $rc, $(($(date +%s) - began)) s" >>/ended
	}
	all=0
	before=$(cd / && used)
	: >/ended
	timed sh scripts/run
	timed sh scripts/test
	timed unshare --net sh scripts/run
	sh scripts/uninstall
	grep PRETTY_NAME /etc/os-release
	rustc --version
	cat /ended
	cache=$(cd /root/.cache/zcache && used)
	echo "the cache takes $cache MB, the packages" \
		"$(($(cd / && used) - before - cache)) MB"
	exit "$all"'
export ROOT chroot
exec unshare --mount --pid --fork --kill-child sh -eu -c '
	mount -t proc proc "$chroot/proc"
	mount -t sysfs -o ro sysfs "$chroot/sys"
	mount --rbind /dev "$chroot/dev"
	rm -rf "$chroot/zcache"
	mkdir "$chroot/zcache"
	git -C "$ROOT" archive HEAD | tar -C "$chroot/zcache" -xf -
	exec chroot "$chroot" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
		sh -c "cd /zcache && $1"' sh "$*"
