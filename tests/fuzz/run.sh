#!/bin/sh
# Builds the fuzz targets with a stable toolchain and runs them: run.sh SECONDS JOBS [TARGET...]
# The seconds are those that a target computes (user CPU time), so a busy machine makes a run longer, not weaker.
# New inputs and findings go to target/fuzz; tests/fuzz/corpus is what is committed.
set -eu
cd "$(dirname "$0")"

seconds=$1
jobs=$2
shift 2
all="bundle foreign carriage uplink card bridge_card verdict introduction one_time prekey_ring pickup sealed manifest content frame"
triple=$(rustc -vV | sed -n 's/^host: //p')
out=${CARGO_TARGET_DIR:-$PWD/../../target/fuzz}

build() {
    # What cargo-fuzz would set, without its sanitizer of addresses: this code forbids unsafe.
    RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table" \
        cargo build --locked --release --target "$triple" --target-dir "$out"
}

# Seconds of CPU that this shell's children have used, into $spent. libFuzzer's own limit counts wall time. `times` in
# a subshell would tell of that one's children.
count() {
    times >"$out/$1.times"
    spent=$(awk 'NR == 2 { split($1, t, /[ms]/); print int(t[1] * 60 + t[2]) }' "$out/$1.times")
}

fuzz() {
    mkdir -p "$out/corpus/$1"
    : >"$out/$1.log"
    executions=0
    spent=0
    rounds=0
    while [ "$spent" -lt "$seconds" ]; do
        if ! "$out/$triple/release/$1" -max_total_time=$((seconds - spent)) -timeout=60 -print_final_stats=1 \
            -artifact_prefix="$out/finding-$1-" "$out/corpus/$1" "corpus/$1" >>"$out/$1.log" 2>&1; then
            echo "$1: FINDING, see $out/$1.log" >&2
            return 1
        fi
        executions=$((executions + $(sed -n 's/^stat::number_of_executed_units: *//p' "$out/$1.log" | tail -1)))
        count "$1"
        rounds=$((rounds + 1))
    done
    echo "$1: $executions executions in $spent CPU seconds and $rounds rounds," \
        "$(sed -n 's/.*DONE *//p' "$out/$1.log" | tail -1 | sed 's/ lim:.*//')"
}

# xargs runs this file again for each target, with 0 jobs.
if [ "$jobs" = 0 ]; then
    fuzz "$1"
else
    build
    printf '%s\n' ${*:-$all} | xargs -P "$jobs" -I{} sh "$PWD/run.sh" "$seconds" 0 {}
fi
