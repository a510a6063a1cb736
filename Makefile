# SPDX-License-Identifier: GPL-2.0
# Names for the scripts. In a kernel tree, Kbuild is read instead of this.
.PHONY: help run test bench stats shell doctor lint series
.PHONY: rebase-check check-arm64 uninstall distclean

help:
	@echo 'make run        the main job: one workload without zcache, with it,'
	@echo '                and with RAM to spare (FULL=1: a larger tree too)'
	@echo 'make test       every test; the last line counts them'
	@echo 'make bench      side by side: does zcache hurt, what do equal pages'
	@echo '                gain and cost, what does a swapped page, how long does'
	@echo '                a put and a get take (hours)'
	@echo 'make shell      a shell in a guest with zcache on, under pressure'
	@echo 'make stats      watch the counters: here, or in that guest, or start one'
	@echo 'make doctor     is this machine fit, and what would be installed'
	@echo 'make lint       style of everything'
	@echo 'make series     the series with the driver in it, for git am and as'
	@echo '                one patch, in out/'
	@echo 'make rebase-check KERNEL_SRC=DIR  how the series fits another kernel'
	@echo 'make check-arm64  does it compile for arm64'
	@echo 'make uninstall  print the line that removes what set-up installed'
	@echo 'make distclean  remove the cache folder and out/'
	@echo
	@echo 'KERNEL_SRC=DIR  another Linux 7.3 source than the distribution has'
	@echo 'ZCACHE_CACHE=DIR  where sources and builds go (~/.cache/zcache)'

run test shell stats doctor lint series rebase-check check-arm64 uninstall distclean:
	@sh scripts/$@

bench:
	@result=0; for bench in policy twotrees swap-cost latency; do \
		sh bench/$$bench || result=1; done; exit $$result
