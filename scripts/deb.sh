#!/usr/bin/env bash
# Builds the Debian packages of deploy/debian and lets lintian look at them: scripts/deb.sh [--programs DIR] [--output DIR].
# scripts/setup.sh installs what it needs. They come to lie in target/debian, or in the folder named by --output; what of an
# earlier build is there is removed.
# --programs packages the programs of that folder as they are; else they are compiled, the server's without the feature that
# brings code for secret keys.
# Exit status: 0 built, 1 lintian found something, 2 not built.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    echo "deb: error: $1" >&2
    [ $# -lt 2 ] || echo "deb: hint: $2" >&2
    exit 2
}

programs=() out=$PWD/target/debian
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || fail "what is '$1'?" "scripts/deb.sh [--programs DIR] [--output DIR]"
    case $1 in
    --programs) programs=("PROGRAMS=$(realpath -e "$2")") || fail "there is no folder $2" ;;
    --output) out=$(realpath -m "$2") ;;
    *) fail "'$1' is no option" "scripts/deb.sh [--programs DIR] [--output DIR]" ;;
    esac
    shift 2
done

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
packaged=$(dpkg-parsechangelog -l deploy/debian/changelog -S Version)
[ "$packaged" = "$version" ] || fail "deploy/debian/changelog is of $packaged, Cargo.toml of $version" "add an entry there"

# dpkg-buildpackage writes packages beside the tree that it builds in.
work=$out/sealedlog-$version
rm -rf "$work" "$out"/sealedlog*_"$version"_*
mkdir -p "$work"
tar -c --exclude=./target --exclude=./.git --exclude=node_modules . | tar -x -C "$work"
cp -r deploy/debian "$work/debian"
(
    cd "$work"
    # Compiled beside the other builds, so that what sealedlog depends on need not be compiled again.
    export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$OLDPWD/target}
    [ ${#programs[@]} -eq 0 ] || export "${programs[@]}"
    # -d: Debian's own compiler is older than what is needed, so it is no build dependency.
    dpkg-buildpackage --no-sign --build=binary -d -rfakeroot
) >"$out/build.log" 2>&1 || { tail -n 30 "$out/build.log" >&2; fail "dpkg-buildpackage failed" "all that it said is in $out/build.log"; }
rm -rf "$work"
ls "$out"/*_"$version"_*.deb
lintian --fail-on error,warning --allow-root "$out"/*_"$version"_*.changes || exit 1
