#!/usr/bin/env bash
# Lets every system call of the filters fail once (tests/faults.rs), and says how many of them lost something or told
# an untruth. FAULT=PART takes only those whose name has this part: reopen/, /fdatasync, signal=KILL, ....
# KEEP=DIR keeps the folders of those that went wrong. Exit status: 0 none did, else 1 or more.
set -euo pipefail
cd "$(dirname "$0")/.."
SEALEDLOG_FAULT="${FAULT:-}" ${KEEP:+env SEALEDLOG_FAULT_KEEP="$(realpath -m "$KEEP")"} \
    "${CARGO:-cargo}" test --features audit --test faults -- --ignored --nocapture every_call_fails_once
