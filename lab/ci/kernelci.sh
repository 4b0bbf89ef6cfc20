#!/bin/sh
# A kernel that somebody else built, judged as a guest's: what a job of the kernelci kind calls.
#   KERNEL_IMAGE  bzImage or vmlinux         KERNEL_MODULES  modules.tar.gz or .tar.xz (lib/modules/VERSION in it), or such a folder
# KTAP on stdout, stream and reports in $DISPLIF_CTS_OUT. Status: 0 as expected, 1 the kernel's doing, 3 nothing was proven.
set -eu
cd "$(dirname "$0")/../.."
out=${DISPLIF_CTS_OUT:-out/kernelci}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
modules=$KERNEL_MODULES
if [ ! -d "$modules" ]; then
  tar -xf "$modules" -C "$work"
  modules=$work
fi
set -- "$modules"/lib/modules/*/
[ -d "$1" ] || { echo "$KERNEL_MODULES holds no lib/modules/VERSION" >&2; exit 3; }
# No exec: the trap has to run.
# shellcheck disable=SC2086 # words
./displif-cts run --kernel "$KERNEL_IMAGE" --modules "${1%/}" --format ktap --out "$out" ${DISPLIF_CTS_OPTIONS:-}
