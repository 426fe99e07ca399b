#!/bin/sh
# Copies what decides which crates are built and how (manifests and the lock), with an empty program or library in the place of
# each of ours. Built first, it is a layer that stays as long as no dependency changes, whatever becomes of our sources.
#   skeleton.sh DESTINATION       from the repository's root
set -eu
to=$1
for manifest in Cargo.toml Cargo.lock */Cargo.toml; do
    install -D -m 644 "$manifest" "$to/$manifest"
done
for source in */src/lib.rs */src/main.rs */build.rs */benches/*.rs */tests/*.rs */tests/*/main.rs; do
    [ -e "$source" ] || continue
    mkdir -p "$to/${source%/*}"
    case $source in
        */src/lib.rs) : >"$to/$source" ;;
        *) printf 'fn main() {}\n' >"$to/$source" ;;
    esac
done
