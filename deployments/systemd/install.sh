#!/usr/bin/env bash
# Installs the programs and their systemd units on this machine, upgrades them, or takes them away again.
#
#   install.sh                     installs or upgrades; may be run again at any time
#   install.sh --uninstall         takes programs and units away; configuration stays
#   install.sh --uninstall --purge takes the configuration away, too
#
#   --binaries DIR   where the programs are: bin beside the release's files, else target/release
#   --prefix DIR     programs go to DIR/bin (/usr/local)
#   --root DIR       everything goes below DIR, and nothing of the running system is touched: no group, no service
#
# A file in /etc/nexus that is there is never written to; what is new in it stands in its .example. An upgrade starts again what
# runs and changed, one after the other: each drains first (docs/OPERATIONS.md). Nothing is enabled that you did not enable.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/../.." && pwd)
programs=(nexus nexus-streamer nexus-collector nexus-gateway)
# In the order in which they are started again: whoever takes rows before whoever brings some.
services=(nexus-collector.service nexus-gateway.service nexus-streamer.service)
units=(nexus-collector.service nexus-gateway.service nexus-streamer.service nexus-streamer@.service)
settings=(nexus streamer)
group=nexus-secrets

binaries='' prefix=/usr/local root='' uninstall='' purge=''

say() { printf '%s\n' "$*"; }
refuse() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 2
}

while [ $# -gt 0 ]; do
    case $1 in
        --binaries | --prefix | --root)
            [ $# -ge 2 ] && [ -n "$2" ] || refuse "$1 needs a folder"
            declare "${1#--}=${2%/}"
            shift
            ;;
        --uninstall) uninstall=yes ;;
        --purge) purge=yes ;;
        --help)
            sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"
            exit 0
            ;;
        *) refuse "$1 is no option; --help tells which there are" ;;
    esac
    shift
done
[ -z "$purge" ] || [ -n "$uninstall" ] || refuse "--purge goes with --uninstall"
case $prefix in /*) ;; *) refuse "--prefix $prefix: write the whole path" ;; esac
if [ -z "$root" ]; then
    [ "$(id -u)" -eq 0 ] || refuse "it has to be root's work: sudo $0, or --root DIR to see what it does"
    command -v systemctl >/dev/null || refuse "there is no systemd here"
fi
bin=$prefix/bin
unit_folder=/etc/systemd/system
configuration=/etc/nexus

# Nothing of the running system where everything goes below a folder.
system() { [ -n "$root" ] || "$@"; }

running() { systemctl is-active --quiet "$1"; }
instances() { systemctl list-units --all --plain --no-legend 'nexus-streamer@*.service' | awk '{print $1}'; }

# Puts a file in its place at once, and tells by its status whether that changed anything.
put() { # mode, from, to
    if cmp -s "$2" "$root$3" && [ "$(stat -c %a "$root$3")" = "$1" ]; then return 1; fi
    install -D -m "$1" "$2" "$root$3.new"
    mv -f "$root$3.new" "$root$3"
    say "  $3"
}

# ELF's number for a kind of machine, of this one and of a file.
machine() {
    case $(uname -m) in
        x86_64 | amd64) echo 62 ;;
        aarch64 | arm64) echo 183 ;;
        *) refuse "there are programs for x86_64 and aarch64, not for $(uname -m)" ;;
    esac
}
made_for() {
    [ "$(head -c 4 "$1" | od -An -tx1 | tr -d ' ')" = 7f454c46 ] || refuse "$1 is no program for Linux"
    od -An -tu2 -j18 -N2 "$1" | tr -d ' '
}

find_binaries() {
    local folder
    for folder in ${binaries:+"$binaries"} "$repository/bin" "$repository/target/release"; do
        if [ -x "$folder/nexus" ] || [ -n "$binaries" ]; then
            binaries=$folder
            return
        fi
    done
    refuse "no programs in $repository/bin and $repository/target/release: make build-nexus, or --binaries DIR"
}

# Before anything is changed: all programs are there, for this machine, and start.
look_at_binaries() {
    local program ours
    ours=$(machine)
    for program in "${programs[@]}"; do
        [ -f "$binaries/$program" ] || refuse "$binaries/$program is not there"
        [ "$(made_for "$binaries/$program")" = "$ours" ] || refuse "$binaries/$program is for another kind of machine than $(uname -m)"
        "$binaries/$program" --version >/dev/null || refuse "$binaries/$program does not start here, see above"
    done
}

make_group() {
    getent group "$group" >/dev/null && return
    groupadd --system "$group"
    say "  group $group: who may read keys and passwords"
}

install_all() {
    find_binaries
    look_at_binaries
    say "installing $("$binaries/nexus" --version | head -1)"
    local changed='' unit_changed='' name service program
    system make_group

    for name in "${programs[@]}"; do
        if put 755 "$binaries/$name" "$bin/$name"; then changed+=" $name"; fi
    done

    text=$(mktemp)
    trap 'rm -f "$text"' EXIT
    for name in "${units[@]}"; do
        sed "s|/usr/local/bin/|$bin/|" "$here/$name" >"$text"
        if put 644 "$text" "$unit_folder/$name"; then unit_changed=yes changed+=" ${name%%[.@]*}"; fi
    done

    if [ ! -d "$root$configuration" ]; then
        install -d -m 750 "$root$configuration"
        system chgrp "$group" "$configuration"
    fi
    for name in "${settings[@]}"; do
        put 644 "$here/$name.env.example" "$configuration/$name.env.example" || true
        if [ ! -e "$root$configuration/$name.env" ]; then
            put 640 "$here/$name.env.example" "$configuration/$name.env"
            system chgrp "$group" "$configuration/$name.env"
        fi
    done

    [ -z "$root" ] || return 0
    [ -z "$unit_changed" ] || systemctl daemon-reload
    # shellcheck disable=SC2046
    for service in "${services[@]}" $(instances); do
        program=${service%%[.@]*}
        [[ " $changed " == *" $program "* ]] && running "$service" || continue
        say "starting $service again, once it has drained"
        systemctl restart "$service"
    done
    [ -n "$changed" ] || say "everything was there already"
    for service in "${services[@]}"; do
        if ! systemctl is-enabled --quiet "$service" 2>/dev/null; then
            say "not enabled: $service; edit $configuration/*.env, then: systemctl enable --now ${service%.service}"
        fi
    done
}

uninstall_all() {
    local name
    if [ -z "$root" ]; then
        # Who brings rows is stopped first; all drain.
        # shellcheck disable=SC2046
        for name in $(instances) nexus-streamer.service nexus-gateway.service nexus-collector.service; do
            [ -e "$unit_folder/${name/@*/@.service}" ] && systemctl disable --now "$name"
        done
    fi
    for name in "${units[@]}"; do rm -f "$root$unit_folder/$name"; done
    for name in "${programs[@]}"; do rm -f "$root$bin/$name"; done
    system systemctl daemon-reload
    if [ -n "$purge" ]; then
        rm -rf -- "${root:-}${configuration:?}"
        if [ -z "$root" ] && getent group "$group" >/dev/null; then groupdel "$group"; fi
        say "taken away, with its configuration; etcd and PostgreSQL keep their data"
    else
        say "taken away; $configuration stays (--purge takes it, too), and etcd and PostgreSQL keep their data"
    fi
}

if [ -n "$uninstall" ]; then uninstall_all; else install_all; fi
