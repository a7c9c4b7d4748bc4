#!/usr/bin/env bash
# Makes sure that what building, testing and the demo need is there.
# As root it installs the missing Debian packages; else it says which command would.
# Quick when nothing is missing. Exit status: 0 ready, 2 not (standard error says what to do).
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    echo "setup: error: $1" >&2
    [ $# -lt 2 ] || echo "setup: hint: $2" >&2
    exit 2
}

missing=()
# lib PACKAGE: wanted as a Debian package, whatever brought it.
lib() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ] || missing+=("$1"); }
# prog PROGRAM PACKAGE: wanted as a program; the package is what brings it on Debian.
prog() { PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null || missing+=("$2"); }

prog dpkg-query dpkg
lib libssl-dev           # OpenSSL, the cryptography below sequoia-openpgp
lib libclang-dev         # its bindings are generated at build time
lib libc6-dev
prog cc gcc
prog clang clang
prog pkg-config pkg-config
prog apache2 apache2-bin # the server alone: the package apache2 would start a service
prog rotatelogs apache2-utils
prog ab apache2-utils
prog curl curl            # the demo's requests
prog gpg gnupg
prog gpg-agent gpg-agent
prog gpgconf gpgconf
prog age age
prog age-keygen age
prog ssh-keygen openssh-client
prog strace strace
prog prlimit util-linux
lib libfaketime          # a clock of its own for a filter under test
prog groff groff         # the man pages are checked for warnings
prog node nodejs
prog npm npm

if [ ${#missing[@]} -gt 0 ]; then
    mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
    install=(apt-get install -y --no-install-recommends "${missing[@]}")
    if [ "$(id -u)" -ne 0 ]; then
        fail "missing Debian packages: ${missing[*]}" "run as root: apt-get update && ${install[*]}"
    fi
    echo "setup: installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q || fail "apt-get update failed"
    "${install[@]}" -q || fail "apt-get could not install ${missing[*]}"
fi

command -v cargo >/dev/null || fail "cargo is missing" "install Rust 1.88 or later with rustfmt and clippy (rustup), and put it on PATH"
for part in fmt clippy; do
    cargo "$part" --version >/dev/null 2>&1 || fail "cargo $part is missing" "rustup component add rustfmt clippy"
done

# OpenPGP.js, in the version that the lock file names. npm leaves its own copy of the lock file behind.
interop=tests/interop
if [ ! "$interop/node_modules/.package-lock.json" -nt "$interop/package-lock.json" ]; then
    echo "setup: installing OpenPGP.js into $interop/node_modules"
    (cd "$interop" && npm ci --loglevel=error) || fail "npm ci failed in $interop"
    # npm keeps the time of an unpacked tree that it finds complete; the comparison above needs a new one.
    touch "$interop/node_modules/.package-lock.json"
fi
