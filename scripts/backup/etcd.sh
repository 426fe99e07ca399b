#!/usr/bin/env bash
# Takes a snapshot of etcd, verified and with its hash, into BACKUP_DIR/etcd; the last BACKUP_KEEP (288) stay.
#
#   BACKUP_DIR=/var/backups/nexus ETCD_ENDPOINTS=etcd-1:2379,etcd-2:2379 etcd.sh
#
# ETCD_ENDPOINTS, ETCD_CA_FILE, ETCD_CERT_FILE, ETCD_KEY_FILE, ETCD_USER, ETCD_PASSWORD or ETCD_PASSWORD_FILE mean what they
# mean for the components. The first member that is healthy gives the snapshot: all have the same. With authentication on,
# the user has to be root. BACKUP_METRICS_DIR: tells Prometheus's node exporter of it.
#
# A snapshot is named after the moment it was whole: etcd-20261121T183000Z.db. restore-etcd.sh restores it.
set -euo pipefail
# shellcheck source=scripts/backup/lib.sh
. "$(dirname "$0")/lib.sh"
case ${1:-} in -h | --help) usage ;; '') ;; *) refuse "etcd.sh takes no arguments; --help tells its variables" ;; esac

keep=$(keep 288)
needs etcdctl etcd-client >/dev/null
into=$(folder etcd)
only_one "$into"
ask_etcd
umask 077
half=$into/.half.db
trap 'rm -f -- "$half" "$half.part" "$half.sha256"' EXIT

from=''
while read -r endpoint; do
    if said=$(ETCDCTL_ENDPOINTS=$endpoint etcdctl endpoint health 2>&1); then
        from=$endpoint
        break
    fi
    warn "not healthy: $endpoint: $(tail -n 1 <<<"$said")"
done < <(endpoints)
[ -n "$from" ] || die "no member of etcd is healthy (ETCD_ENDPOINTS=${ETCD_ENDPOINTS:-localhost:2379}): no snapshot"

began=$SECONDS
rm -f -- "$half"
said=$(ETCDCTL_ENDPOINTS=$from etcdctl snapshot save "$half" 2>&1) || die "$from gives no snapshot: $(tail -n 1 <<<"$said")"
status=$(snapshot_status "$half") || die "the snapshot of $from cannot be read back"

name=etcd-$(by_now).db
(cd "$into" && sha256sum "${half##*/}" | sed "s/ .*/  $name/") >"$half.sha256"
sync "$half" "$half.sha256"
mv -- "$half.sha256" "$into/$name.sha256"
mv -- "$half" "$into/$name"
sync "$into"
size=$(stat -c %s "$into/$name" 2>/dev/null || wc -c <"$into/$name")
say "$into/$name of $from: $status"
told etcd "$size" "$((SECONDS - began))"

backups "$into" etcd .db | tail -n +"$((keep + 1))" | while read -r old; do
    rm -f -- "$old" "$old.sha256"
    say "removed $old: $keep are kept"
done
