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
lib libsqlite3-dev       # tables that are exported
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
prog rsync rsync         # sealed files are pulled with it; brings rrsync
lib python3              # rrsync is written in it
prog cmp diffutils
prog script bsdutils     # a terminal for a program under test
prog jq jq               # these read what search and export print
prog goaccess goaccess
prog lnav lnav
prog sqlite3 sqlite3
lib python3-pip          # brings DuckDB
prog strace strace
prog gdb gdb             # what a filter can still do is asked from inside of it
prog prlimit util-linux
prog mkfs.ext4 e2fsprogs # the chain's state on a file system of its own
prog mount mount
prog losetup mount
prog debugfs e2fsprogs
prog unshare util-linux      # Postfix under test gets a /dev/log of its own
prog logger bsdutils
prog faketime faketime    # a clock of its own for a filter under test
lib libfaketime
prog groff groff         # the man pages are checked for warnings
lib debhelper            # the Debian packages
lib fakeroot
lib lintian
prog dpkg-buildpackage dpkg-dev
prog valgrind valgrind       # counts the instructions of the record path
prog taskset util-linux
prog node nodejs
prog npm npm
prog chromium chromium      # the report is read in a browser
lib fonts-dejavu-core       # with letters
prog pdftotext poppler-utils # and as it would be printed

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

command -v cargo >/dev/null || fail "cargo is missing" "install Rust 1.89 or later with rustfmt and clippy (rustup), and put it on PATH"
for part in fmt clippy; do
    cargo "$part" --version >/dev/null 2>&1 || fail "cargo $part is missing" "rustup component add rustfmt clippy"
done

# The syslog daemons, Postfix and the SSH server are unpacked, not installed: installed they would start services, replace the
# machine's own logging, and rsyslog and syslog-ng exclude each other. The tests run them from there, with folders of their own.
# download FOLDER PACKAGE: with what it needs and is not installed; the folder is removed where that fails.
download() {
    local packages
    if ! apt-cache show "$2" >/dev/null 2>&1; then
        [ "$(id -u)" -eq 0 ] || fail "the package lists have no $2" "run as root: apt-get update"
        apt-get update -q || fail "apt-get update failed"
    fi
    packages=$(apt-get install -s -y --no-install-recommends "$2" 2>/dev/null | sed -n 's/^Inst \([^ ]*\).*/\1/p')
    # An installed package is none that would be installed, so it is named once more.
    (cd "$1" && printf '%s\n' "$2" $packages | sort -u | xargs apt-get download -qq -o APT::Sandbox::User=root) ||
        { rm -rf "$1"; fail "apt-get could not download $2" "as root: apt-get update, then again"; }
}
# unpack NAME PROGRAM PACKAGE: below target/daemons/NAME, with the libraries that are not installed.
unpack() {
    local root=target/daemons/$1 work
    [ ! -x "$root/$2" ] || return 0
    echo "setup: unpacking $3 into $root"
    mkdir -p target/daemons
    work=$(mktemp -d "$PWD/target/daemons/.$1.XXXXXX")
    download "$work" "$3"
    for package in "$work"/*.deb; do
        dpkg -x "$package" "$work/root" || { rm -rf "$work"; fail "$package could not be unpacked" "is the disk full?"; }
    done
    # Its folders must be open to the account that Postfix runs as.
    chmod 755 "$work/root"
    rm -rf "$root"
    mv "$work/root" "$root"
    rm -rf "$work"
    [ -x "$root/$2" ] || fail "$3 has no $2" "this is known to work on Debian 12"
}
unpack syslog-ng usr/sbin/syslog-ng syslog-ng-core
unpack slog usr/bin/slogencrypt syslog-ng-mod-slog # compared with, in `make bench`
unpack rsyslog usr/sbin/rsyslogd rsyslog
unpack postfix usr/sbin/postfix postfix
unpack openssh usr/sbin/sshd openssh-server

# Apache as Debian configures it, for a test that installs packages: installed here it would start a service.
if [ ! -d target/daemons/apache2 ]; then
    echo "setup: downloading apache2 into target/daemons/apache2"
    work=$(mktemp -d "$PWD/target/daemons/.apache2.XXXXXX")
    download "$work" apache2
    mv "$work" target/daemons/apache2
fi

# OpenPGP.js, in the version that the lock file names. npm leaves its own copy of the lock file behind.
interop=tests/interop
if [ ! "$interop/node_modules/.package-lock.json" -nt "$interop/package-lock.json" ]; then
    echo "setup: installing OpenPGP.js into $interop/node_modules"
    (cd "$interop" && npm ci --loglevel=error) || fail "npm ci failed in $interop"
    # npm keeps the time of an unpacked tree that it finds complete; the comparison above needs a new one.
    touch "$interop/node_modules/.package-lock.json"
fi

# DuckDB, which Debian does not have: reads what is exported.
duckdb=1.4.5
if [ ! -d "target/duckdb/duckdb-$duckdb.dist-info" ]; then
    echo "setup: installing DuckDB $duckdb into target/duckdb"
    mkdir -p target
    work=$(mktemp -d "$PWD/target/.duckdb.XXXXXX")
    pip=(python3 -m pip --disable-pip-version-check install --quiet --no-deps --only-binary :all: --root-user-action ignore)
    "${pip[@]}" --target "$work" "duckdb==$duckdb" || { rm -rf "$work"; fail "pip could not install DuckDB $duckdb"; }
    rm -rf target/duckdb
    mv "$work" target/duckdb
fi
