#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# mk-payload.sh OUT.img QEMU FILE...
#
# Makes the small disk that dom0 mounts at /nested: the QEMU built here, without
# its debugging information and with Debian's keymaps beside it, and the FILEs
# (guest kernel, initrds, scripts, programs). It is all that has to be made
# again when QEMU or a script changes. Runs inside the build root.

set -eu

if [ $# -lt 2 ]; then
    echo "usage: $0 OUT.img QEMU FILE..." >&2
    exit 2
fi
out=$1
qemu=$2
shift 2

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

strip -o "$dir/qemu-system-x86_64" "$qemu"
chmod 755 "$dir/qemu-system-x86_64"
cp "$@" "$dir"

kib=$(($(du -sk "$dir" | cut -f1) * 110 / 100 + 2048))
rm -f "$out.tmp"
mke2fs -q -F -t ext4 -m 0 -O ^has_journal -E root_owner=0:0 \
    -d "$dir" "$out.tmp" "${kib}k"
mv "$out.tmp" "$out"
