#!/bin/bash -eu
# Builds the fuzz targets by the conventions of OSS-Fuzz: compiler, flags and engine come from $CC, $CXX, $CXXFLAGS and
# $LIB_FUZZING_ENGINE, the targets go to $OUT with TARGET.options, TARGET.dict and TARGET_seed_corpus.zip beside them.
# The sanitizer is in $CXXFLAGS, so our own MT_SANITIZE stays empty; coverage too, but the switch also says which parts
# to build. canary_fuzz stays out: it must crash, and a service would file that as a bug.
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=${WORK:-$source/build}/oss-fuzz
# As in our own build: fibers that a stop leaves behind would leak their fake stacks.
uar=$(case ${CXXFLAGS:-} in *address*) echo -fsanitize-address-use-after-return=never ;; esac)

cmake -S "$source" -B "$work" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_COMPILER="$CXX" \
  -DCMAKE_CXX_FLAGS="${CXXFLAGS:-} $uar" -DCMAKE_CXX_FLAGS_RELEASE="" -DMT_FUZZ=ON
ninja -C "$work" fuzz_targets

for target in pages_fuzz text_fuzz; do
  cp "$work/$target" "$OUT/"
  cp "$source/fuzz/$target.options" "$OUT/"
done
cp "$source/fuzz/text_fuzz.dict" "$OUT/"
python3 - "$OUT" "$work/seeds/pages_fuzz" "$source/corpus" <<'END'
import pathlib, sys, zipfile
out, bytes_folder, texts_folder = map(pathlib.Path, sys.argv[1:])
for target, files in (("pages_fuzz", bytes_folder.glob("*")), ("text_fuzz", texts_folder.rglob("*.case"))):
    with zipfile.ZipFile(out / f"{target}_seed_corpus.zip", "w") as archive:
        for file in sorted(files):
            archive.write(file, file.name)
END
