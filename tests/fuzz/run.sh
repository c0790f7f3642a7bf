#!/bin/sh
# Builds the fuzz targets with a stable toolchain and runs them one after the other: run.sh SECONDS JOBS [TARGET...]
# Each keeps to one core. New inputs and findings go to target/fuzz; tests/fuzz/corpus is what is committed.
set -eu
cd "$(dirname "$0")"

seconds=$1
jobs=$2
shift 2
all="bundle foreign carriage uplink card bridge_card verdict sealed manifest content frame"
triple=$(rustc -vV | sed -n 's/^host: //p')
out=${CARGO_TARGET_DIR:-$PWD/../../target/fuzz}

# What cargo-fuzz would set, without its sanitizer of addresses: this code forbids unsafe.
RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table" \
    cargo build --locked --release --target "$triple" --target-dir "$out"

fuzz() {
    mkdir -p "$out/corpus/$1"
    if "$out/$triple/release/$1" -max_total_time="$seconds" -timeout=20 -print_final_stats=1 \
        -artifact_prefix="$out/finding-$1-" "$out/corpus/$1" "corpus/$1" >"$out/$1.log" 2>&1; then
        echo "$1: $(grep -o 'DONE .*' "$out/$1.log")"
    else
        echo "$1: FINDING, see $out/$1.log" >&2
        return 1
    fi
}

# xargs runs this file again for each target.
if [ "$jobs" = 1 ]; then
    status=0
    for target in ${*:-$all}; do fuzz "$target" || status=1; done
    exit $status
fi
printf '%s\n' ${*:-$all} | xargs -P "$jobs" -I{} sh "$PWD/run.sh" "$seconds" 1 {}
