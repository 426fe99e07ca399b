#!/usr/bin/env bash
# Finds what Nexus needs, and installs what is missing where it may (as root, or with sudo that asks no password).
# Otherwise it says exactly what to install, and ends with status 1. With everything there it does nothing.
set -euo pipefail

quiet=${1:-}

say() { printf '%s\n' "$*" >&2; }

find_program() {
    command -v "$1" >/dev/null && return
    local bin
    for bin in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin; do
        [ -x "$bin/$1" ] && return
    done
    return 1
}

# Program, and the Debian package that has it.
packages=()
need() { find_program "$1" || packages+=("$2"); }
need etcd etcd-server
need etcdctl etcd-client
need initdb postgresql
need protoc protobuf-compiler
# The well-known types that etcd's API imports: Debian ships them apart from the compiler.
if [ "$(command -v protoc || echo /usr/bin/protoc)" = /usr/bin/protoc ] \
    && [ ! -e /usr/include/google/protobuf/descriptor.proto ]; then
    packages+=(libprotobuf-dev)
fi
need cc build-essential
need curl curl

if [ ${#packages[@]} -gt 0 ]; then
    sudo=()
    if [ "$(id -u)" -ne 0 ]; then
        if sudo -n true 2>/dev/null; then sudo=(sudo -n); else sudo=(false); fi
    fi
    if ! command -v apt-get >/dev/null || [ "${sudo[0]:-}" = false ]; then
        say "missing: ${packages[*]}. Install them and try again:"
        if command -v brew >/dev/null; then
            say "  brew install etcd postgresql protobuf"
        else
            say "  sudo apt-get update && sudo apt-get install -y ${packages[*]}"
        fi
        exit 1
    fi
    say "installing ${packages[*]}"
    # Debian's PostgreSQL makes and starts a server on port 5432 when it is installed. Nexus needs the programs only. Where
    # PostgreSQL is there already, or somebody has decided about this, nothing is changed.
    conf=/etc/postgresql-common/createcluster.conf
    if [[ " ${packages[*]} " == *" postgresql "* ]] && [ ! -e "$conf" ] && [ ! -d /etc/postgresql ]; then
        "${sudo[@]}" mkdir -p "${conf%/*}"
        printf 'create_main_cluster = false\n' | "${sudo[@]}" tee "$conf" >/dev/null
    fi
    # Likewise Debian's etcd starts itself on port 2379: a policy for the time of this installation says no.
    policy=/usr/sbin/policy-rc.d
    if [[ " ${packages[*]} " == *" etcd-server "* ]] && [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
        "${sudo[@]}" chmod 755 "$policy"
        trap '"${sudo[@]}" rm -f "$policy"' EXIT
        started_by_install=etcd
    fi
    "${sudo[@]}" apt-get update -q >&2
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${packages[@]}" >&2
    # It would start at the next boot, and take the port then.
    if [ -n "${started_by_install:-}" ] && command -v systemctl >/dev/null; then
        "${sudo[@]}" systemctl disable etcd >/dev/null 2>&1 || true
    fi
fi

if ! command -v cargo >/dev/null && [ ! -x "$HOME/.cargo/bin/cargo" ]; then
    say "missing: Rust 1.90 or newer; install it with rustup"
    exit 1
fi
[ -n "$quiet" ] || say "everything that Nexus needs is there"
