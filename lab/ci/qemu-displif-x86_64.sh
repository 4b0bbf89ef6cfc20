#!/bin/bash
# For Xen's own CI, beside its automation/scripts/qemu-*: the hypervisor and tools that the job before it built, Debian's kernels, and
# the PV display frontend in a guest. Called in xen.git's root; DISPLIF_CTS is where this suite is.

set -ex -o pipefail

: "${DISPLIF_CTS:=$(realpath "$(dirname "$0")/../..")}"
binaries=$(realpath binaries)

# The tools of the same build: libxenctrl must match the hypervisor.
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
(cd "$tools" && zcat "$binaries/xen-tools.cpio.gz" | cpio -idm --quiet)

# shellcheck disable=SC2086 # words
"$DISPLIF_CTS/displif-cts" run --xen "$binaries/xen" --xen-tools "$tools" --out "$PWD/displif" ${DISPLIF_CTS_OPTIONS:-} | tee displif.log
