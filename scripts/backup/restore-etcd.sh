#!/usr/bin/env bash
# Restores a member of etcd from a snapshot, into an empty folder. etcd is stopped; docs/BACKUP.md says in which order.
#
#   restore-etcd.sh --data-dir DIR [--name NAME] [--peer-url URL] [--cluster NAME=URL,…] [--token TOKEN]
#                   [--before TIME | --snapshot FILE]
#
#   --data-dir DIR    etcd's --data-dir: missing or empty
#   --name NAME       its --name (default)
#   --peer-url URL    its --initial-advertise-peer-urls (http://localhost:2380)
#   --cluster …       its --initial-cluster, the same on each member; alone, the member itself
#   --token TOKEN     its --initial-cluster-token, the same on each member; by default one for this snapshot
#   --before TIME     the newest snapshot that was whole at this moment: the point at which PostgreSQL was restored
#   --snapshot FILE   this one; by default the newest in BACKUP_DIR/etcd
#
# PostgreSQL first, then etcd, from BEFORE the point that PostgreSQL stands at: rows that are read twice merge, rows that etcd
# takes for stored and PostgreSQL does not have are lost. Exit status 3: there is no snapshot from before. Then start etcd
# empty: streamers read their sources from the beginning.
set -euo pipefail
# shellcheck source=scripts/backup/lib.sh
. "$(dirname "$0")/lib.sh"

data='' name=default peer=http://localhost:2380 cluster='' token='' before='' snapshot=''
while [ $# -gt 0 ]; do
    case $1 in -h | --help) usage ;; esac
    [ $# -ge 2 ] || refuse "$1 needs a value; --help tells more"
    case $1 in
        --data-dir) data=$2 ;;
        --name) name=$2 ;;
        --peer-url) peer=$2 ;;
        --cluster) cluster=$2 ;;
        --token) token=$2 ;;
        --before) before=$2 ;;
        --snapshot) snapshot=$2 ;;
        *) refuse "restore-etcd.sh does not know $1; --help tells what there is" ;;
    esac
    shift 2
done
[ -n "$data" ] || refuse "--data-dir is missing: where etcd keeps its data"
must_be_empty "$data"
if [ -z "$snapshot" ]; then
    [ -n "${BACKUP_DIR:-}" ] || refuse "neither --snapshot nor BACKUP_DIR says which snapshot"
    at=''; [ -z "$before" ] || at=$(moment "$before")
    snapshot=$(newest "$BACKUP_DIR/etcd" etcd .db "$at")
    if [ -z "$snapshot" ]; then
        warn "no snapshot in $BACKUP_DIR/etcd${before:+ from before $before}: start etcd empty, and the streamers begin again"
        exit 3
    fi
fi
[ -r "$snapshot" ] || refuse "$snapshot cannot be read"
if [ -e "$snapshot.sha256" ]; then
    (cd "$(dirname "$snapshot")" && sha256sum --quiet -c "${snapshot##*/}.sha256") || die "$snapshot is damaged: take another one"
fi
status=$(export ETCDCTL_API=3; snapshot_status "$snapshot") || die "$snapshot is no snapshot"
say "$snapshot: $status"

# A cluster of its own: members of before cannot meet it. The same on all members, which restore the same snapshot.
moment=$(moment_of "$snapshot")
token=${token:-nexus-restored-$moment}
cluster=${cluster:-$name=$peer}
case ,$cluster, in *",$name=$peer,"*) ;; *) refuse "--cluster $cluster does not have $name=$peer" ;; esac

# Into a folder beside, then as a whole: an etcd that is started meanwhile finds nothing, not half of it.
private "$data"
half=$data/.restoring
trap 'rm -rf -- "$half"' EXIT
as=(--data-dir "$half" --name "$name" --initial-cluster "$cluster" --initial-cluster-token "$token"
    --initial-advertise-peer-urls "$peer")
if command -v etcdutl >/dev/null; then
    # Revisions go on far behind those that were given out before: who watches or compares is told, and takes none for another.
    case $(etcdutl snapshot restore --help 2>&1) in
        *--bump-revision*) as+=(--bump-revision 1000000000 --mark-compacted) ;;
    esac
    said=$(etcdutl snapshot restore "$snapshot" "${as[@]}" 2>&1) || die "etcdutl could not restore $snapshot: $said"
else
    said=$(ETCDCTL_API=3 etcdctl snapshot restore "$snapshot" "${as[@]}" 2>&1) || die "etcdctl could not restore $snapshot: $said"
fi
mv -- "$half/member" "$data/member"
sync "$data"
say "$data is restored: etcd as it was at $moment. Start it as user of that folder, with"
say "  --name $name --initial-cluster $cluster --initial-cluster-token $token"
say "and when it answers forget its old id, so that live clients are told of the gap:"
say "  etcdctl del /telemetry/store"
