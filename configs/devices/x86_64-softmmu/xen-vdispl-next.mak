# SPDX-License-Identifier: GPL-2.0-or-later
#
# The same for QEMU 10.2, which does not link without CXL.

include xen-vdispl.mak

CONFIG_PXB=y
CONFIG_CXL=y
CONFIG_CXL_MEM_DEVICE=y
