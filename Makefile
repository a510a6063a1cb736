# SPDX-License-Identifier: GPL-2.0
# Names for the scripts. In a kernel tree, Kbuild is read instead of this.
.PHONY: help run test bench stats shell doctor lint distclean

help:
	@echo 'make run        the main job: one workload without zcache, with it,'
	@echo '                and with RAM to spare (FULL=1: a larger tree too)'
	@echo 'make test       every test; the last line counts them'
	@echo 'make bench      side by side: what deduplication gains and costs'
	@echo 'make shell      a shell in a guest with zcache on'
	@echo 'make stats      the counters of zcache on this machine'
	@echo 'make doctor     is this machine fit, and what would be installed'
	@echo 'make lint       style of everything'
	@echo 'make distclean  remove the cache folder and out/'
	@echo
	@echo 'KERNEL_SRC=DIR  another Linux 7.3 source than the distribution has'
	@echo 'ZCACHE_CACHE=DIR  where sources and builds go (~/.cache/zcache)'

run test shell doctor lint distclean:
	@sh scripts/$@

bench:
	@sh bench/twotrees

stats:
	@sh scripts/zcache-stats
