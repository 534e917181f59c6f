# SPDX-License-Identifier: GPL-2.0-or-later
#
# Enters the Debian 13 build root, where meson does the work: see "make help"
# and docs/devel/building.rst.

SUITE =
GUEST =
STAY =
GL =
PREFIX = /usr/local
DESTDIR =
QEMU_SRC =
LINUX_SRC =
export QEMU_SRC LINUX_SRC
# What is emulated is slow: see docs/devel/testing.rst.
export XEN_NESTED_SLOWNESS ?= 3

root = scripts/buildroot
suites = $(or $(SUITE),unit qtest nested kernel style)

# Trees of the user's own appear in the root below /user.
user_tree = '$(if $($1),/user$(shell realpath '$($1)'),$2)'
options = -Dqemu_src=$(call user_tree,QEMU_SRC,qemu) \
          -Dlinux_src=$(call user_tree,LINUX_SRC,linux)
# The trees under the images are made on the host, before the root is entered.
bases = bases=$$($(root) bases dom0 guest) &&
build = $(root) run scripts/build $(options)
viewer = contrib/xen-vdispl-wayland/xen-vdispl-wayland

help:
	@echo 'make help       this list'
	@echo 'make demo       show a Xen guest on a nested machine: build/demo/'
	@echo '                (GUEST=pv or pvh; STAY=y: stay up without a terminal, too;'
	@echo '                GL=virgl: in textures that virglrenderer has allocated,'
	@echo '                GL=gbm: in buffers of a DRM device)'
	@echo 'make check      run every test (SUITE=unit, qtest, nested, kernel or style: one kind)'
	@echo 'make check-all  the slow ones, too: HVM guests, sanitizers, other QEMU and Linux'
	@echo 'make bench      what page flips and buffers cost: build/bench/'
	@echo '                (SUITE=qtest or nested: one half)'
	@echo 'make fuzz       look for input that breaks the device (TIME=60 seconds, twice)'
	@echo 'make coverage   how much of the device the tests reach: build/coverage/'
	@echo 'make mutants    whether the tests see the bugs of tests/mutants'
	@echo 'make qemu       build QEMU alone: build/qemu/qemu-system-x86_64'
	@echo 'make kernel     build the dom0 kernel alone: build/kernel/'
	@echo 'make viewer     build the Wayland viewer alone: build/contrib/'
	@echo 'make images     build all of the nested machine: build/tests/nested/'
	@echo 'make install    install QEMU for a Debian 13 Xen host, beside its own,'
	@echo '                and the Wayland viewer'
	@echo '                (DESTDIR=, PREFIX=$(PREFIX))'
	@echo 'make shell      a shell in the build root'
	@echo 'make clean      remove what was built in this checkout: build/'
	@echo 'make distclean  remove the caches, too'
	@echo
	@echo 'QEMU_SRC=DIR, LINUX_SRC=DIR: build from a source tree of your own.'

prepare:
	@$(root) prepare

qemu: prepare
	@$(build) qemu-system-x86_64

kernel: prepare
	@$(build) kernel.stamp

viewer: prepare
	@$(build) $(viewer)

images: prepare
	@$(bases) $(build) $$bases test-nested

demo: prepare
	@$(bases) $(build) $$bases demo $(if $(STAY),--stay) $(GL:%=--gl=%) $(GUEST)

check: prepare
	@$(if $(filter nested hvm paths kernel soak kasan,$(suites)),$(bases),bases=;) \
	$(build) $$bases check $(suites)

check-all: prepare
	@$(bases) $(build) $$bases check unit qtest nested hvm paths kernel soak \
	kasan style asan modules next no-xen linux

bench: prepare
	@$(bases) $(build) $$bases bench $(or $(SUITE),qtest nested)

fuzz coverage mutants: prepare
	@$(root) run env TIME=$(or $(TIME),60) scripts/build $(options) run-$@

# What "sudo make install" builds belongs to whom the checkout does.
owner = $(shell stat -c %U .)
home = $(shell getent passwd $(owner) | cut -d : -f 6)
as_owner = $(if $(SUDO_USER),runuser -u $(owner) -- env HOME='$(home)')
install:
	@$(as_owner) $(MAKE) --no-print-directory qemu viewer
	@scripts/install '$(DESTDIR)' '$(PREFIX)'

shell: prepare
	@$(root) run bash

clean:
	rm -rf build

distclean: clean
	$(root) clean

.PHONY: help prepare qemu kernel viewer images demo check check-all bench \
        fuzz coverage mutants install shell clean distclean
