#!/usr/bin/env bash
# Runs libFuzzer's targets in fuzz/, each for so many seconds, one for each processor at a time: scripts/fuzz.sh [SECONDS
# [TARGET]…]. Installs what is missing as scripts/setup.sh does. A plain stable compiler is all it takes: fuzz/rustc.sh has its
# flags.
# What is found is in target/fuzz/found, the inputs that reach something new in target/fuzz/corpus: both stay for the next time.
# FUZZ_SEED=N begins with the same random inputs each time.
# Exit status: 0 nothing was found, 1 a target failed (standard error has the input), 2 it could not be run.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    echo "fuzz: error: $1" >&2
    [ $# -lt 2 ] || echo "fuzz: hint: $2" >&2
    exit 2
}

seconds=${1:-60}
case $seconds in '' | *[!0-9]* | 0) fail "'$seconds' is no number of seconds" "scripts/fuzz.sh [SECONDS [TARGET]…]" ;; esac
[ $# -eq 0 ] || shift

missing=()
lib() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ] || missing+=("$1"); }
prog() { command -v "$1" >/dev/null || missing+=("$2"); }
lib libssl-dev   # as scripts/setup.sh: what sealedlog is built with
lib libclang-dev
lib libc6-dev
prog cc gcc
prog c++ g++     # libFuzzer itself is C++
prog pkg-config pkg-config
if [ ${#missing[@]} -gt 0 ]; then
    install=(apt-get install -y --no-install-recommends "${missing[@]}")
    [ "$(id -u)" -eq 0 ] || fail "missing Debian packages: ${missing[*]}" "run as root: apt-get update && ${install[*]}"
    echo "fuzz: installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q || fail "apt-get update failed"
    "${install[@]}" -q || fail "apt-get could not install ${missing[*]}"
fi
command -v cargo >/dev/null || fail "cargo is missing" "install Rust 1.89 or later (rustup), and put it on PATH"

# In the folder of the other builds: what sealedlog depends on is built with the same flags there.
CARGO_TARGET_DIR=$PWD/target RUSTC_WRAPPER=$PWD/fuzz/rustc.sh \
    cargo build --locked --manifest-path fuzz/Cargo.toml --bins || fail "the targets cannot be built"

mapfile -t targets < <(if [ $# -gt 0 ]; then printf '%s\n' "$@"; else sed -n 's/^path = "fuzz_targets\/\(.*\)\.rs"$/\1/p' fuzz/Cargo.toml; fi)
work=target/fuzz
mkdir -p "$work/found"
# Files that are written once an input are best in memory.
FUZZ_FOLDER=$(mktemp -d -p "$([ -w /dev/shm ] && echo /dev/shm || echo "$PWD/$work")" sealedlog-fuzz.XXXXXX)
export FUZZ_FOLDER
trap 'rm -rf "$FUZZ_FOLDER"' EXIT
# Each in one thread: what is found is found again.
export RAYON_NUM_THREADS=1

for target in "${targets[@]}"; do
    [ -x "target/debug/$target" ] && [ -f "fuzz/fuzz_targets/$target.rs" ] || fail "there is no target $target" "see fuzz/fuzz_targets"
done

# Runs one target; its last word goes to standard output or error. Fails where it found something.
fuzz() {
    local target=$1 corpus=$work/corpus/$1 log=$work/$1.log seeds=() dictionary=()
    mkdir -p "$corpus"
    [ ! -d "fuzz/seeds/$target" ] || seeds=("fuzz/seeds/$target")
    [ ! -f "fuzz/seeds/$target.dict" ] || dictionary=("-dict=fuzz/seeds/$target.dict")
    # Inputs are of any length from the start: short ones say little to the targets that are slow. The memory limit is far
    # above what any may take.
    if "target/debug/$target" "$corpus" "${seeds[@]}" "${dictionary[@]}" -max_total_time="$seconds" -timeout=30 -max_len=4096 -len_control=0 \
        -rss_limit_mb=1024 -seed="${FUZZ_SEED:-0}" -print_final_stats=1 -artifact_prefix="$work/found/$target-" >"$log" 2>&1; then
        sed -n 's/^stat::number_of_executed_units: *//p' "$log" | xargs printf 'fuzz: %-10s %10s executions, nothing found\n' "$target"
    else
        { echo "fuzz: $target failed; the end of $log:"; tail -n 30 "$log"; } >&2
        return 1
    fi
}

# One for each processor at a time.
found=0 running=0
for target in "${targets[@]}"; do
    if [ "$running" -ge "$(nproc)" ]; then
        wait -n || found=1
        running=$((running - 1))
    fi
    fuzz "$target" &
    running=$((running + 1))
done
while [ "$running" -gt 0 ]; do
    wait -n || found=1
    running=$((running - 1))
done
if [ "$found" -ne 0 ]; then
    echo "fuzz: error: found something: see above" >&2
    echo "fuzz: hint: target/debug/TARGET $work/found/FILE runs it again" >&2
    exit 1
fi
