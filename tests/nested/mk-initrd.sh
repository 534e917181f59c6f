#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# mk-initrd.sh [-m MODULES] [-p PROGRAM]... OUT.img INIT
#              [GUEST.tar OUT-KERNEL MODULE...]
#
# Makes an initrd of busybox, the script INIT and PROGRAMs, which go to /bin.
# With MODULES, a directory, its copy is /lib/modules: those of a kernel that has
# built in what it needs to find its root.
# With GUEST.tar, a root file system that holds a Debian kernel, the kernel is
# copied to OUT-KERNEL and the named modules with all that they need go into the
# initrd, uncompressed, with their load order in /modules. Runs inside the build
# root.

set -eu

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir -p "$dir/root/bin" "$dir/root/lib" "$dir/root/dev" "$dir/root/proc" \
    "$dir/root/sys" "$dir/root/mnt"

: > "$dir/root/modules"
while :; do
    case ${1-} in
    -m) cp -R "$2" "$dir/root/lib/modules" ;;
    -p) cp "$2" "$dir/root/bin/" ;;
    *) break ;;
    esac
    shift 2
done
if [ $# -lt 2 ] || [ $# -eq 3 ]; then
    echo "usage: $0 [-m MODULES] [-p PROGRAM]... OUT.img INIT" \
        "[GUEST.tar OUT-KERNEL MODULE...]" >&2
    exit 2
fi
out=$1
init=$2
shift 2

cp "$(command -v busybox)" "$dir/root/bin/busybox"
cp "$init" "$dir/root/init"
chmod 755 "$dir/root/init"

if [ $# -gt 0 ]; then
    base=$1
    kernel=$2
    shift 2

    mkdir "$dir/base"
    tar -C "$dir/base" --no-same-owner -xf "$base" ./boot ./usr/lib/modules
    ln -s usr/lib "$dir/base/lib"
    version=$(ls "$dir/base/usr/lib/modules")
    case $version in
    *[!A-Za-z0-9.+~_-]* | '')
        echo "$0: $base must hold one kernel, found: '$version'" >&2
        exit 1
        ;;
    esac
    depmod -b "$dir/base" "$version"
    for module; do
        modprobe -d "$dir/base" -S "$version" --show-depends "$module"
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' > "$dir/list"
    while read -r path; do
        name=${path##*/}
        name=${name%.xz}
        xz -dc "$path" > "$dir/root/lib/$name"
        echo "/lib/$name" >> "$dir/root/modules"
    done < "$dir/list"
    cp "$dir/base/boot/vmlinuz-$version" "$kernel.tmp"
    mv "$kernel.tmp" "$kernel"
fi

(cd "$dir/root" && find . | LC_ALL=C sort | cpio -o -H newc --quiet) |
    gzip -1n > "$out.tmp"
mv "$out.tmp" "$out"
