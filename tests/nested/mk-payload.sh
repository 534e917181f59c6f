#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# mk-payload.sh OUT.img FILE...
#
# Makes the small disk that dom0 mounts at /nested, of the FILEs: the QEMU built
# here, guest kernel, initrds, scripts, programs. It is all that has to be made
# again when one of them changes. Runs inside the build root.

set -eu

if [ $# -lt 2 ]; then
    echo "usage: $0 OUT.img FILE..." >&2
    exit 2
fi
out=$1
shift

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

cp "$@" "$dir"

kib=$(($(du -sk "$dir" | cut -f1) * 110 / 100 + 2048))
rm -f "$out.tmp"
mke2fs -q -F -t ext4 -m 0 -O ^has_journal -E root_owner=0:0 \
    -d "$dir" "$out.tmp" "${kib}k"
mv "$out.tmp" "$out"
