# VAMP: the front door
#
#   make            what there is
#   make run        install what is missing, build, boot two guests, show the response with and without VAMP
#   make check      everything that this machine can test
#   make bench      policies side by side on a simulated host
#   make kmod       KVM's modules with ours, for a stock kernel; kmod-deb: as a DKMS package
#
# Variables: QEMU_SRC=DIR (a QEMU source folder instead of the distribution's), BUILD=DIR, JOBS=N, PREFIX=, DESTDIR=,
# KERNEL=FILE and KERNEL_MODULES=DIR (for the guests of `make run`), RUN_ARGS=..., CHECK=GROUPS,
# SCENARIOS=, POLICIES=, SEEDS= (of `make bench`), KERNEL_VERSION=, LINUX_SRC=, LINUX_BUILD= (of `make kmod`)

BUILD ?= $(CURDIR)/build
JOBS ?= $(shell nproc)
PREFIX ?= /usr/local
RUN_ARGS ?=
CHECK ?=
SCENARIOS ?=
POLICIES ?=
SEEDS ?= 3
KERNEL_VERSION ?=

export BUILD JOBS QEMU_SRC LINUX_SRC LINUX_BUILD

# `make QEMU_SRC=DIR` builds; a bare `make` says what there is.
.DEFAULT_GOAL := $(if $(QEMU_SRC),build,help)

.PHONY: help setup build guest-deb run check bench kmod kmod-guest kmod-deb full install update qtest-baseline clean distclean

help:
	@echo 'make run             build, boot two guests, show the response time with and without VAMP'
	@echo 'make check           run all tests that this machine can run (CHECK="core style": only these groups)'
	@echo 'make bench           measure all policies on a simulated host (SCENARIOS="3vms-2cpus" POLICIES=... SEEDS=1)'
	@echo 'make build           only build: build/bin/qemu-system-x86_64 (slim: what run and check need), vdiguest'
	@echo 'make kmod            build kvm.ko, kvm-amd.ko, kvm-intel.ko (KERNEL_VERSION=6.12...: for this kernel): build/kmod'
	@echo 'make kmod-deb        a DKMS package of them: build/vamp-dkms_VERSION_all.deb'
	@echo 'make kmod-guest      build vamp_pv.ko, which names the tasks of a guest to its host: build/kmod-guest'
	@echo 'make guest-deb       packages for the inside of Debian guests: vdiguest, our qemu-ga, their units; vamp_pv.ko with DKMS'
	@echo 'make full            build QEMU with all default features and devices; make install DESTDIR=... PREFIX=...'
	@echo 'make update          ask the archive for a newer QEMU $(shell . upstream/qemu.conf; echo $$QEMU_SERIES).x and build it'
	@echo 'make clean           remove what was built (the downloaded sources stay); distclean: everything'
	@echo 'Give a QEMU source folder of your own with QEMU_SRC=DIR.'

setup:
	@scripts/setup build

# Sources, patches, links and objects: each step looks for itself whether there is anything to do.
build: setup
	@scripts/guest-build
	@scripts/qemu-source
	@scripts/qemu-build slim

guest-deb:
	@scripts/setup build check
	@scripts/guest-deb
	@scripts/kmod-deb guest

run:
	@echo '[vamp] make run: packages, QEMU, two guests, then about 3 minutes of measuring'
	@scripts/setup build run
	@scripts/qemu-source
	@scripts/qemu-build slim
	@$(MAKE) --no-print-directory -s -C tests/functional BUILD='$(BUILD)'
	@tests/functional/run.py --qemu '$(BUILD)/bin/qemu-system-x86_64' --results '$(BUILD)/results' $(RUN_ARGS)

check:
	@echo '[vamp] make check: packages, QEMU twice (plain, ASan+UBSan), then the tests'
	@scripts/setup build run check bench kmod
	@scripts/guest-build
	@scripts/qemu-source
	@scripts/qemu-build slim tests
	@scripts/qemu-build asan
	@$(MAKE) --no-print-directory -s -C tests/functional BUILD='$(BUILD)'
	@$(MAKE) --no-print-directory -s -C lab BUILD='$(BUILD)'
	@tests/check.py $(CHECK)

bench:
	@echo '[vamp] make bench: packages, QEMU, then about 20 s a run; 15 runs a scenario (SCENARIOS="..." SEEDS=1: fewer)'
	@scripts/setup build bench
	@scripts/qemu-source
	@scripts/qemu-build slim
	@$(MAKE) --no-print-directory -s -C lab BUILD='$(BUILD)'
	@lab/bench.py --scenarios '$(SCENARIOS)' --policies '$(POLICIES)' --seeds '$(SEEDS)' --results '$(BUILD)/results'

kmod:
	@scripts/setup kmod
	@scripts/kmod-build $(KERNEL_VERSION)

kmod-guest:
	@scripts/setup kmod
	@scripts/kmod-guest $(KERNEL_VERSION)

kmod-deb:
	@scripts/kmod-deb

full:
	@echo '[vamp] make full: about 10 minutes on 2 cores'
	@scripts/setup build full
	@scripts/qemu-source
	@PREFIX='$(PREFIX)' scripts/qemu-build full

install:
	@test -f '$(BUILD)/qemu/build-full/qemu-system-x86_64' || \
	    { echo 'vamp: error: nothing to install yet, run make full first' >&2; exit 1; }
	@DESTDIR='$(DESTDIR)' ninja -C '$(BUILD)/qemu/build-full' install > '$(BUILD)/log/install.log' 2>&1 || \
	    { tail -n 20 '$(BUILD)/log/install.log' >&2; echo 'vamp: error: installing failed' >&2; exit 1; }
	@echo '[vamp] installed in $(DESTDIR)$(PREFIX)'

update: setup
	@scripts/qemu-source --update
	@scripts/qemu-build slim

# Results of QEMU's own qtests without our patches: `make check` compares with them.
qtest-baseline: build
	@scripts/qemu-build unpatched
	@tests/check.py --write-baseline

clean:
	@echo '[vamp] removing what was built; downloads and results stay'
	@rm -rf '$(BUILD)'/qemu/build-* '$(BUILD)'/qemu/src* '$(BUILD)'/qemu/orig '$(BUILD)'/qemu/upstream \
	    '$(BUILD)'/qemu/patch-stamp '$(BUILD)'/qemu/patched-files '$(BUILD)'/qemu/links \
	    '$(BUILD)'/kmod '$(BUILD)'/kmod-guest '$(BUILD)'/bin '$(BUILD)'/core '$(BUILD)'/core-asan '$(BUILD)'/guest '$(BUILD)'/guest-deb '$(BUILD)'/vdiguest_*.deb '$(BUILD)'/lab '$(BUILD)'/log

distclean:
	@echo '[vamp] removing $(BUILD)'
	@rm -rf '$(BUILD)'
