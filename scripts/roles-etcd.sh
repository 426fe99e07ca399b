#!/usr/bin/env bash
# Users and roles of least privilege in etcd: streamer, collector, gateway and operator, each with the keys it needs and no
# others. Run it with etcdctl's own variables (ETCDCTL_ENDPOINTS, and once authentication is on, those of root), and again
# whenever you like: what is there already stays.
#
#   NEXUS_STREAMER_PASSWORD=… NEXUS_COLLECTOR_PASSWORD=… NEXUS_GATEWAY_PASSWORD=… scripts/roles-etcd.sh
#
# A user whose password is not given has none: it comes by the CN of a client certificate (nexus-streamer, …). Passwords are
# read from the environment and handed over on standard input, so that no process list shows them. ETCD_PREFIX is what
# MESSAGE_QUEUE_PREFIX lies in (/telemetry). At the end, with a user root that has the role root: etcdctl auth enable
#
# With authentication on, defragmenting and clearing alarms are root's alone: give the collectors ETCD_UPKEEP=false, let
# etcd compact by itself (--auto-compaction-mode periodic --auto-compaction-retention 1m), and do the rest as root.
set -euo pipefail
export ETCDCTL_API=3

prefix=${ETCD_PREFIX:-/telemetry}
prefix=${prefix%/}

# role NAME, and a user of the same name.
role() {
    local name=$1 password=${2:-}
    etcdctl role get "$name" >/dev/null 2>&1 || etcdctl role add "$name"
    if ! etcdctl user get "$name" >/dev/null 2>&1; then
        if [ -n "$password" ]; then
            etcdctl user add "$name" --interactive=false <<<"$password"
        else
            etcdctl user add "$name" --no-password
        fi
    fi
    etcdctl user grant-role "$name" "$name" >/dev/null
    # What components of the version before asked etcd for, to see whether it answers; there is no such key.
    etcdctl role grant-permission "$name" read health >/dev/null
}

# may NAME read|readwrite FAMILY...: everything below these.
may() {
    local name=$1 how=$2 family
    shift 2
    for family in "$@"; do
        etcdctl role grant-permission "$name" "$how" "$prefix/$family/" --prefix=true >/dev/null
    done
}

# Publishes: messages, manifests, its cursors. Looks at nothing that others do.
role nexus-streamer "${NEXUS_STREAMER_PASSWORD:-}"
may nexus-streamer readwrite queue batch lane member

# Claims, reads and acknowledges; tells what it stored.
role nexus-collector "${NEXUS_COLLECTOR_PASSWORD:-}"
may nexus-collector readwrite queue batch claim attempt feed member
may nexus-collector read lane

# Follows the feed and counts the books. It writes that it is there, and the id of the store, and nothing else.
role nexus-gateway "${NEXUS_GATEWAY_PASSWORD:-}"
may nexus-gateway read queue batch lane claim attempt feed
may nexus-gateway readwrite member
etcdctl role grant-permission nexus-gateway readwrite "$prefix/store" >/dev/null

# The commands of operators, and a gateway with ENABLE_OPERATOR_ROUTES: publishes redrives, too.
role nexus-operator "${NEXUS_OPERATOR_PASSWORD:-}"
may nexus-operator read claim attempt feed
may nexus-operator readwrite queue batch lane member
etcdctl role grant-permission nexus-operator readwrite "$prefix/store" >/dev/null
