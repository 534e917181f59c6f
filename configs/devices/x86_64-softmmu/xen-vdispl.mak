# SPDX-License-Identifier: GPL-2.0-or-later
#
# What one QEMU needs to be the nested machine, the subject of the qtests and
# the device model in dom0. QEMU's own Xen back ends come with --enable-xen.

CONFIG_XEN_VDISPL=y
CONFIG_XEN_QTEST=y

# The device model of an HVM guest
CONFIG_I440FX=y

# The outer machine
CONFIG_Q35=y
CONFIG_AMD_IOMMU=y
CONFIG_E1000E_PCI_EXPRESS=y
CONFIG_ISA_DEBUG=y
CONFIG_PCIE_PORT=y
CONFIG_VGA_PCI=y
CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_9P=y
CONFIG_VIRTIO_BLK=y
CONFIG_VIRTIO_GPU=y
CONFIG_VIRTIO_NET=y
CONFIG_VIRTIO_RNG=y
CONFIG_VIRTIO_SERIAL=y
