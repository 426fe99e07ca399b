#!/usr/bin/env bash
# deployments/systemd/install.sh, tried on a copy of this machine that nobody else sees: an overlay whose changes are gone with
# this process. It installs twice, upgrades, refuses what is not for this machine, and takes away what it brought; the units
# are read by systemd-analyze. systemctl is stood in for by a program that notes what it was asked.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
install=$root/deployments/systemd/install.sh
# systemd's own measure, from 0 to 100: "OK" ends at 50.
exposure=15

if [ "${1:-}" = "" ]; then
    [ "$(id -u)" -eq 0 ] || { echo "it mounts an overlay, which is root's" >&2; exit 1; }
    exec unshare --mount --propagation private "$root/checks/install/run.sh" --overlay
fi
if [ "$1" = --overlay ]; then
    work=$(mktemp -d)
    mount -t tmpfs tmpfs "$work"
    mkdir "$work"/{upper,work,root}
    mount -t overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" overlay "$work/root"
    for place in proc dev; do mount --rbind "/$place" "$work/root/$place"; done
    exec chroot "$work/root" "$root/checks/install/run.sh" --inside
fi

fail() { echo "FAILED: $*" >&2; exit 1; }
ok() { echo "  ok: $*"; }

mkdir -p /fake /state /bins
: >/calls
cat >/fake/systemctl <<'FAKE'
#!/bin/sh
echo "$*" >>/calls
case $1 in
    is-active) [ -e "/state/active-$3" ] ;;
    is-enabled) [ -e "/state/enabled-$3" ] ;;
    list-units) cd /state; for unit in active-nexus-streamer@*; do [ ! -e "$unit" ] || echo "${unit#active-} loaded active running"; done ;;
    disable) rm -f "/state/active-$3" "/state/enabled-$3" ;;
esac
FAKE
printf '#!/bin/sh\ncat /machine\n' >/fake/uname
chmod +x /fake/*
uname -m >/machine
export PATH=/fake:$PATH

programs=(nexus nexus-streamer nexus-collector nexus-gateway)
# A small program for this machine that understands --version.
for program in "${programs[@]}"; do install -m 755 /bin/true "/bins/$program"; done

# Everything there is in the places it writes to.
snapshot() {
    local below=$1
    shift
    (cd "$below" && { find "$@" -path 'usr/local/bin/[!n]*' -prune -o -printf '%p %y %m %u:%g %l\n' -type f -exec sha256sum {} + 2>/dev/null || true; } | sort)
}
here() { snapshot / etc/nexus etc/systemd usr/local/bin opt/nexus etc/group; }
run() { "$install" --binaries /bins "$@" >/said 2>&1; }
refused() {
    local before status=0 word=$1
    shift
    before=$(here)
    run "$@" || status=$?
    [ "$status" -eq 2 ] || fail "status $status for: $word: $(cat /said)"
    grep -q "$word" /said || fail "it does not say $word: $(cat /said)"
    [ "$(here)" = "$before" ] || fail "refusing $word it changed something"
}
# What it asked systemctl to do, beyond questions.
acts() { grep -vE '^(is-active|is-enabled|list-units)' /calls || true; }

before=$(here)
! getent group nexus-secrets >/dev/null || fail "the group is there before"

echo riscv64 >/machine
refused "x86_64 and aarch64"
case $(/usr/bin/uname -m) in x86_64) echo aarch64 >/machine ;; *) echo x86_64 >/machine ;; esac
refused "another kind of machine"
/usr/bin/uname -m >/machine
printf '\x16' | dd of=/bins/nexus-gateway bs=1 seek=18 conv=notrunc status=none
refused "nexus-gateway is for another kind of machine"
echo text >/bins/nexus-gateway
refused "nexus-gateway is no program"
rm /bins/nexus-gateway
refused "nexus-gateway is not there"
install -m 755 /bin/true /bins/nexus-gateway
refused "no option" --frobnicate
refused "whole path" --prefix opt
refused "goes with --uninstall" --purge
[ -z "$(acts)" ] || fail "refusing it acted: $(acts)"
ok "what is not for this machine is refused, and nothing changed"

run || fail "$(cat /said)"
for program in "${programs[@]}"; do cmp -s "/bins/$program" "/usr/local/bin/$program" || fail "$program is not installed"; done
[ "$(stat -c '%a %U:%G' /etc/nexus/nexus.env)" = "640 root:nexus-secrets" ] || fail "nexus.env: $(stat -c '%a %U:%G' /etc/nexus/nexus.env)"
[ "$(stat -c '%a %U:%G' /etc/nexus)" = "750 root:nexus-secrets" ] || fail "/etc/nexus: $(stat -c '%a %U:%G' /etc/nexus)"
[ "$(acts)" = daemon-reload ] || fail "installing it acted: $(acts)"
ok "installed, with the group nexus-secrets; nothing was started"

for unit in /etc/systemd/system/nexus-{collector,gateway,streamer,streamer@}.service; do
    name=${unit##*/}
    said=$(systemd-analyze verify "/etc/systemd/system/${name/@/@a}" 2>&1 | grep "${name%%[@.]*}" || true)
    [ -z "$said" ] || fail "$name: $said"
    systemd-analyze security --offline=true --threshold=$exposure --no-pager "/etc/systemd/system/$name" >/said 2>&1 \
        || fail "$name is more exposed than $exposure: $(tail -1 /said)"
done
# For a machine that has no etcd; the administrator puts it there.
install -m 755 /bin/true /usr/local/bin/etcd
said=$(systemd-analyze verify "$root/deployments/systemd/etcd.service" 2>&1 | grep 'etcd' || true)
[ -z "$said" ] || fail "etcd.service: $said"
rm /usr/local/bin/etcd
ok "systemd understands the units; exposure at most $exposure of 100"
diff <(sed -E 's/ %i//; /^# Of this one alone/d; /streamer-%i/d' /etc/systemd/system/nexus-streamer@.service) \
    /etc/systemd/system/nexus-streamer.service >/said || fail "the template is not the streamer's unit: $(cat /said)"

installed=$(here)
: >/calls
run || fail "$(cat /said)"
[ "$(here)" = "$installed" ] || fail "a second time it changed something"
[ -z "$(acts)" ] || fail "a second time it acted: $(acts)"
grep -q "everything was there already" /said || fail "$(cat /said)"
ok "a second time changes nothing and starts nothing again"

echo "DB_PASSWORD=mine" >>/etc/nexus/nexus.env
mine=$(cat /etc/nexus/nexus.env)
touch /state/{active,enabled}-nexus-collector.service /state/{active,enabled}-nexus-streamer.service "/state/active-nexus-streamer@a.service"
: >/calls
install -m 755 /bin/echo /bins/nexus-collector
run || fail "$(cat /said)"
[ "$(acts)" = "restart nexus-collector.service" ] || fail "a new collector: $(acts)"
: >/calls
install -m 755 /bin/echo /bins/nexus-streamer
install -m 755 /bin/echo /bins/nexus-gateway
sed -i 's/MemoryMax=.*/MemoryMax=1G/' /etc/systemd/system/nexus-collector.service
run || fail "$(cat /said)"
[ "$(acts)" = "daemon-reload
restart nexus-collector.service
restart nexus-streamer.service
restart nexus-streamer@a.service" ] || fail "new units and programs: $(acts)"
[ "$(cat /etc/nexus/nexus.env)" = "$mine" ] || fail "it wrote to an edited file"
ok "an upgrade starts again what runs and changed, collectors first, and keeps what was edited"

: >/calls
run --uninstall || fail "$(cat /said)"
[ "$(acts)" = "disable --now nexus-streamer@a.service
disable --now nexus-streamer.service
disable --now nexus-gateway.service
disable --now nexus-collector.service
daemon-reload" ] || fail "uninstalling: $(acts)"
[ "$(cat /etc/nexus/nexus.env)" = "$mine" ] || fail "it took the configuration away"
run --uninstall || fail "a second time: $(cat /said)"
run --uninstall --purge || fail "$(cat /said)"
[ "$(here)" = "$before" ] || fail "something is left: $(diff <(echo "$before") <(here))"
ok "taken away: configuration stays, --purge leaves nothing"

: >/calls
mkdir /scratch
run --root /scratch --prefix /opt/nexus || fail "$(cat /said)"
first=$(snapshot /scratch .)
run --root /scratch --prefix /opt/nexus || fail "$(cat /said)"
[ "$(snapshot /scratch .)" = "$first" ] || fail "below a folder: a second time it changed something"
grep -q '^ExecStart=/opt/nexus/bin/nexus-gateway$' /scratch/etc/systemd/system/nexus-gateway.service || fail "the unit does not know the prefix"
[ "$(here)" = "$before" ] && [ ! -s /calls ] || fail "below a folder it touched the system: $(cat /calls)"
run --root /scratch --prefix /opt/nexus --uninstall || fail "$(cat /said)"
[ "$(cd /scratch && find . -type f | sort | tr '\n' ' ')" = "./etc/nexus/nexus.env ./etc/nexus/nexus.env.example ./etc/nexus/streamer.env ./etc/nexus/streamer.env.example " ] \
    || fail "below a folder is left: $(find /scratch -type f)"
run --root /scratch --prefix /opt/nexus --uninstall --purge || fail "$(cat /said)"
[ -z "$(find /scratch -type f)" ] || fail "below a folder is left: $(find /scratch -type f)"
ok "below a folder the same, and the system is left alone"
