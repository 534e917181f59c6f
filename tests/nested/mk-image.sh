#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# mk-image.sh BASE.tar OUT.img
#
# Makes an ext4 image of a root file system that mmdebstrap wrote as a tar
# file. Runs inside the build root and needs no privilege: mke2fs reads
# owners and device nodes from the archive. Nothing else goes into the image,
# so that it changes only when its package list does; what the project adds
# is in the initrd (mk-initrd.sh) and on the payload disk (mk-payload.sh).

set -eu

if [ $# -ne 2 ]; then
    echo "usage: $0 BASE.tar OUT.img" >&2
    exit 2
fi
base=$1
out=$2

size=$(stat -c %s "$base")
# room for inode tables and directories; the machine mounts it read-only
kib=$((size * 112 / 100 / 1024 + 16384))

rm -f "$out.tmp"
mke2fs -q -F -t ext4 -m 0 -O ^has_journal -E root_owner=0:0 \
    -d "$base" "$out.tmp" "${kib}k"
mv "$out.tmp" "$out"
