#!/bin/sh
# Cargo calls this in place of rustc (RUSTC_WRAPPER): the library under test is built so that libFuzzer sees which of its code
# runs, by flags that a stable compiler has. What it depends on stays as it is: faster, and what is steered by is our own code.
rustc=$1
shift
case " $* " in
*" --crate-name sealedlog "*)
    exec "$rustc" "$@" --cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
esac
exec "$rustc" "$@"
