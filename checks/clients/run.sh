#!/usr/bin/env bash
# Checks the gateway with clients that were not written here: schemathesis (OpenAPI, GraphQL), graphql-ws, Chromium.
# One line for each thing seen; the exit status says whether all were as they should be. With NEXUS_GATEWAY=http://… it
# looks at that gateway, which has to be receiving telemetry; otherwise at a stack of its own, which is gone afterwards.
set -euo pipefail
cd "$(dirname "$0")/../.."

here=$PWD/checks/clients
binary=${NEXUS:-target/release/nexus}
# Requests that schemathesis makes up for each operation and phase.
examples=${EXAMPLES:-30}
mkdir -p "${NEXUS_DIR:-.nexus}/clients"
local=$(cd "${NEXUS_DIR:-.nexus}/clients" && pwd)
# As `nexus up` marks what it made: version control leaves it alone, and scripts/clean.sh may remove it.
echo '*' >"$local/.gitignore"
stack='' up=''

say() { printf '%s\n' "$*" >&2; }

finish() {
    local status=$?
    trap - EXIT INT TERM
    if [ -n "$up" ] && kill -INT "$up" 2>/dev/null; then
        for _ in $(seq 60); do
            kill -0 "$up" 2>/dev/null || break
            sleep 0.5
        done
        kill -KILL "$up" 2>/dev/null && say "the stack did not stop within 30 s and was killed"
    fi
    [ -z "$up" ] || wait "$up" 2>/dev/null || true
    if [ -n "$stack" ]; then
        # What the gateway said is worth keeping when something was wrong.
        rm -rf -- "$local/log"
        cp -r "$stack/log" "$local/log" 2>/dev/null || true
        NEXUS_DIR=$stack scripts/clean.sh >/dev/null || true
        rm -rf -- "$stack"
    fi
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

free_ports() {
    python3 -c 'import socket
taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(one.getsockname()[1] for one in taken))'
}

# Waits until telemetry can be asked for.
await_telemetry() {
    for _ in $(seq 240); do
        if [ -n "$up" ] && ! kill -0 "$up" 2>/dev/null; then
            say "the stack ended before it served:"
            tail -n 20 "$local/up.log" >&2
            return 1
        fi
        if curl -fsS -m 2 "$NEXUS_GATEWAY/api/v1/telemetry/latest" 2>/dev/null | grep -q '"timestamp"'; then return 0; fi
        sleep 0.5
    done
    say "no telemetry at $NEXUS_GATEWAY within 120 s"
    return 1
}

start_stack() {
    [ -x "$binary" ] || { say "missing: $binary; make build-nexus makes it"; return 1; }
    local etcd db http
    read -r etcd db http < <(free_ports)
    stack=$(mktemp -d "$local/stack.XXXXXX")
    NEXUS_GATEWAY=http://127.0.0.1:$http
    # In a process group of its own: Ctrl-C here must reach it once, from here. `exec` keeps its id ours.
    (
        unset ETCD_ENDPOINTS DB_HOST CSV_FILE
        export NEXUS_DIR=$stack ETCD_PORT=$etcd DB_PORT=$db PORT=$http STREAM_INTERVAL=500ms LOOP_MODE=true
        exec setsid "$binary" up
    ) >"$local/up.log" 2>&1 </dev/null &
    up=$!
}

# The clients, in exactly these versions.
install() {
    if ! cmp -s "$here/requirements.txt" "$local/venv/installed.txt"; then
        rm -rf -- "$local/venv"
        python3 -m venv "$local/venv"
        "$local/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
        cp "$here/requirements.txt" "$local/venv/installed.txt"
    fi
    if [ "$here/package-lock.json" -nt "$here/node_modules/.package-lock.json" ]; then
        (cd "$here" && npm ci --silent --no-progress)
    fi
    for CHROMIUM in "${CHROMIUM:-}" chromium chromium-browser google-chrome; do
        CHROMIUM=$(command -v "${CHROMIUM:-none}") && break
    done
    [ -n "$CHROMIUM" ] || { say "missing: chromium"; return 1; }
    export CHROMIUM
}

# What to call it, and the schema's path. Its own words are shown when something failed.
schemathesis() {
    local name=$1 path=$2 status=0
    local folder=$local/schemathesis-$name
    local log=$folder/log
    rm -rf -- "$folder"
    mkdir -p "$folder"
    # There, because it keeps what it learned where it runs.
    (
        cd "$folder"
        SCHEMATHESIS_HOOKS=$here/refusals.py exec timeout -k 10 600 "$local/venv/bin/schemathesis" run \
            "$NEXUS_GATEWAY$path" --checks all --max-examples "$examples" --continue-on-failure \
            --request-timeout 15 --max-response-time 10 --wait-for-schema 10 --report junit --report-dir .
    ) >"$log" 2>&1 || status=$?
    if [ "$status" -eq 0 ]; then
        echo "ok    schemathesis $name: $(grep -E '^ *(Tested:|Filtered:|Seed:|[0-9]+ generated)' "$log" | tr -s ' \n' ' ')"
    else
        sed 's/^/      /' "$log"
        echo "FAIL  schemathesis $name: status $status, see $log"
    fi
    return "$status"
}

install
if [ -z "${NEXUS_GATEWAY:-}" ]; then start_stack; fi
NEXUS_GATEWAY=${NEXUS_GATEWAY%/}
export NEXUS_GATEWAY NEXUS_SHOTS=$local/shots
await_telemetry
say "looking at $NEXUS_GATEWAY; screenshots in $NEXUS_SHOTS"

failed=0
timeout -k 10 180 node "$here/graphql_ws.mjs" || failed=1
timeout -k 10 300 node "$here/browser.mjs" || failed=1
schemathesis openapi /openapi.json || failed=1
schemathesis graphql /graphql || failed=1
exit "$failed"
