#!/bin/bash
# The fuzz targets by OSS-Fuzz's and ClusterFuzzLite's conventions: compilers and flags from $CC $CXX $CFLAGS $CXXFLAGS,
# linked with $LIB_FUZZING_ENGINE, programs and their corpora into $OUT.
#   DISPLIF_LINUX_SOURCE  a kernel tree: then also the target that is Linux's frontend
#   DISPLIF_FUZZ_TARGETS  which, if not all
set -eu
# OSS-Fuzz copies this script beside the tree.
tree=$(cd "$(dirname "$0")/../.." && pwd)
[ -f "$tree/fuzzers/oss-fuzz/build.sh" ] || tree=$SRC/displif-cts
build=${WORK:-$tree/build}/displif-cts-oss-fuzz
targets=${DISPLIF_FUZZ_TARGETS:-backend backend-connect parsers stream store-server ${DISPLIF_LINUX_SOURCE:+linux-frontend}}

# The flags say how code is instrumented; the suite's own choice is left out.
cmake -S "$tree" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_C_COMPILER="$CC" -DCMAKE_CXX_COMPILER="$CXX" \
  -DCMAKE_C_FLAGS="${CFLAGS:-}" -DCMAKE_CXX_FLAGS="${CXXFLAGS:-}" -DDISPLIF_CTS_FUZZ=ON -DDISPLIF_CTS_TESTS=OFF \
  -DDISPLIF_CTS_FUZZ_ENGINE="$LIB_FUZZING_ENGINE" -DDISPLIF_CTS_FUZZ_SANITIZERS= -DDISPLIF_CTS_FUZZ_COVERAGE= \
  -DDISPLIF_CTS_LINUX_SOURCE="${DISPLIF_LINUX_SOURCE:-}"
# shellcheck disable=SC2046,SC2086  # words
ninja -C "$build" displif-fuzz-input $(printf ' displif-fuzz-%s' $targets)

for target in $targets; do
  program=$(find "$build/fuzzers" -type f -name "displif-fuzz-$target")
  cp "$program" "$OUT/"
  corpus=$tree/fuzzers/corpus/$target
  packed=$build/corpus/$target
  rm -rf "$packed" && mkdir -p "$packed"
  # Typed inputs are kept as text; octets as they are.
  if head -qn 1 "$corpus"/* 2>/dev/null | grep -aq '^displif-cts fuzz input '; then
    "$build/fuzzers/input/displif-fuzz-input" pack "$corpus" "$packed"
  else
    cp "$corpus"/* "$packed/"
  fi
  (cd "$packed" && python3 -m zipfile -c "$OUT/displif-fuzz-${target}_seed_corpus.zip" ./*)
  printf '[libfuzzer]\nmax_len = 4096\ndetect_leaks = 0\n' > "$OUT/displif-fuzz-$target.options"
done
