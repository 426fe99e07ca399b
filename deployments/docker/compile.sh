#!/bin/sh
# Compiles a program: the skeleton of it, or the sources that were copied over it.
#   PROFILE=release compile.sh PROGRAM [DESTINATION]       from the repository's root; then lays it out, see root.sh
set -eu
program=$1 profile=${PROFILE:-release}
# Sources keep the dates they have outside: older than the skeleton, and cargo would take them for what it has compiled.
find . -name target -prune -o -name '*.rs' -exec touch {} +
# All members are looked at, as `make build-nexus` does, so that all images and the tests share their dependencies' artefacts.
# CARGO_FLAGS are words.
# shellcheck disable=SC2086
cargo build --profile "$profile" --locked --bin "$program" ${CARGO_FLAGS:-}
[ $# -gt 1 ] || exit 0
case $profile in dev) folder=debug ;; *) folder=$profile ;; esac
"$(dirname "$0")/root.sh" "${CARGO_TARGET_DIR:-target}/$folder/$program" "$2"
