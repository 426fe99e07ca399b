#!/usr/bin/env bash
# Finds what Nexus needs, and installs what is missing where it may (as root, or with sudo that asks no password).
# Otherwise it says exactly what to install, and ends with status 1. With everything there it does nothing.
#   --quiet      says nothing where nothing is missing
#   --tests      also finds what `make test` needs
#   --prometheus also finds what `make run-prometheus` needs
#   --clients    also finds what `make test-clients` needs
#   --checks     also finds what the checks of images, installation and balancer need (Debian)
set -euo pipefail

quiet='' tests='' prometheus='' clients='' checks=''
for option in "$@"; do
    case $option in
        --quiet) quiet=yes ;;
        --tests) tests=yes ;;
        --prometheus) prometheus=yes ;;
        --clients) clients=yes ;;
        --checks) checks=yes ;;
        *)
            printf '%s\n' "setup.sh does not know $option" >&2
            exit 2
            ;;
    esac
done

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
if [ -n "$tests$prometheus" ]; then
    # With promtool: the components are scraped by it.
    need prometheus prometheus
fi
if [ -n "$tests" ]; then
    # The backup scripts are looked through by it.
    need shellcheck shellcheck
fi
if [ -n "$tests$checks" ]; then
    # Certificates are made by it.
    need openssl openssl
fi
if [ -n "$checks" ]; then
    need unshare util-linux
    need systemd-analyze systemd
    need caddy caddy
    need nginx nginx-light
    need python3 python3
    python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
    need node nodejs
    need npm npm
fi
# The GraphQL playground is built with these; everything else works without them.
optional=()
want() { find_program "$1" || optional+=("$2"); }
if [ -n "$clients" ]; then
    need node nodejs
    need npm npm
    need chromium chromium
    need python3 python3
    python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
else
    want node nodejs
    want npm npm
fi
if [ -n "$tests" ]; then
    # The chart is checked by Python, in an environment of its own.
    need python3 python3
    python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
fi

# What Rust lacks, as a sentence; nothing where it does. cargo alone is asked: one that is too old does not understand the
# workspace and says so obscurely, and cargo itself looks at the compiler's version.
rust_lacks() {
    local wanted cargo version
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$(dirname "$0")/../Cargo.toml")
    # As the Makefile does: right after rustup's installation the shell does not know where it is.
    cargo=$(command -v cargo || true)
    [ -n "$cargo" ] || cargo=$HOME/.cargo/bin/cargo
    if [ ! -x "$cargo" ]; then
        echo "missing: Rust $wanted or newer; install it with rustup (https://rustup.rs)"
        return
    fi
    version=$("$cargo" --version 2>/dev/null | awk '{ print $2 }') || true
    if [ -z "$version" ]; then
        echo "$cargo does not say its version: rustup default stable"
        return
    fi
    # The newer of the two is ours.
    [ "$(printf '%s\n' "$wanted" "$version" | sort -V | tail -n 1)" = "$version" ] ||
        echo "$cargo is Rust $version, and $wanted or newer is needed: install it with rustup (https://rustup.rs; then, in this shell," \
            ". ~/.cargo/env), or say rustup update"
}
rust=$(rust_lacks)

sudo=()
may_install() {
    command -v apt-get >/dev/null || return 1
    [ "$(id -u)" -ne 0 ] || return 0
    sudo=(sudo -n)
    sudo -n true 2>/dev/null
}

if [ ${#packages[@]} -gt 0 ]; then
    # Debian's PostgreSQL makes and starts a server on port 5432 when it is installed. Nexus needs the programs only. Where
    # PostgreSQL is there already, or somebody has decided about this, nothing is changed.
    conf=/etc/postgresql-common/createcluster.conf
    no_cluster=''
    if [[ " ${packages[*]} " == *" postgresql "* ]] && [ ! -e "$conf" ] && [ ! -d /etc/postgresql ]; then no_cluster=yes; fi
    # Likewise Debian's etcd starts itself on port 2379, Prometheus on 9090, Caddy and nginx on 80.
    started_by_install=()
    for package in "${packages[@]}"; do
        case $package in
            etcd-server) started_by_install+=(etcd) ;;
            prometheus) started_by_install+=(prometheus) ;;
            caddy) started_by_install+=(caddy) ;;
            nginx-light) started_by_install+=(nginx) ;;
        esac
    done
    if ! may_install; then
        say "missing: ${packages[*]}. Install them and try again:"
        if command -v brew >/dev/null; then
            scraper=$tests$prometheus
            say "  brew install etcd postgresql protobuf${scraper:+ prometheus}${tests:+ shellcheck openssl}${clients:+ node chromium python}"
        else
            if [ -n "$no_cluster" ]; then
                say "  sudo mkdir -p ${conf%/*} && echo 'create_main_cluster = false' | sudo tee $conf     # no server of Debian's"
            fi
            say "  sudo apt-get update && sudo apt-get install -y ${packages[*]} ${optional[*]}"
            if [ ${#started_by_install[@]} -gt 0 ] && command -v systemctl >/dev/null; then
                say "  sudo systemctl disable --now ${started_by_install[*]}     # Debian starts them, on ports that Nexus takes"
            fi
        fi
        [ -z "$rust" ] || say "$rust"
        exit 1
    fi
    say "installing ${packages[*]}"
    if [ -n "$no_cluster" ]; then
        "${sudo[@]}" mkdir -p "${conf%/*}"
        printf 'create_main_cluster = false\n' | "${sudo[@]}" tee "$conf" >/dev/null
    fi
    # A policy for the time of this installation says that nothing is started.
    policy=/usr/sbin/policy-rc.d
    if [ ${#started_by_install[@]} -gt 0 ] && [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
        "${sudo[@]}" chmod 755 "$policy"
        trap '"${sudo[@]}" rm -f "$policy"' EXIT
    else
        started_by_install=()
    fi
    "${sudo[@]}" apt-get update -q >&2
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${packages[@]}" >&2
    # They would start at the next boot, and take the port then.
    if [ ${#started_by_install[@]} -gt 0 ] && command -v systemctl >/dev/null; then
        "${sudo[@]}" systemctl disable "${started_by_install[@]}" >/dev/null 2>&1 || true
    fi
fi

if [ ${#optional[@]} -gt 0 ]; then
    if may_install; then
        say "installing ${optional[*]}"
        "${sudo[@]}" apt-get update -q >&2 || true
        "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${optional[@]}" >&2 ||
            say "not installed: ${optional[*]}; the gateway goes without its GraphQL playground"
    elif [ -z "$quiet" ]; then
        say "not there: ${optional[*]}; the gateway goes without its GraphQL playground"
    fi
fi

if [ -n "$rust" ]; then
    say "$rust"
    exit 1
fi
[ -n "$quiet" ] || say "everything that Nexus needs is there"
