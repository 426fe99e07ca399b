#!/usr/bin/env bash
# Checks the Helm chart and deployments/k8s without a cluster: rendered by helm's library, held against Kubernetes' strict
# schemas, and against the programs themselves, which are started with what the chart tells them.
#
#   BINARIES=target/debug checks/chart/run.sh [TEST…]          such as test_matrix or test_programs.Programs.test_metrics
set -euo pipefail
cd "$(dirname "$0")/../.."

export BINARIES=${BINARIES:-target/debug}
mkdir -p "${NEXUS_DIR:-.nexus}/chart"
local=$(cd "${NEXUS_DIR:-.nexus}/chart" && pwd)
# As `nexus up` marks what it made: version control leaves it alone, and scripts/clean.sh may remove it.
echo '*' >"$local/.gitignore"

wanted=$(sha256sum checks/chart/requirements.txt)
if [ "$(cat "$local/installed" 2>/dev/null)" != "$wanted" ]; then
    rm -rf -- "$local/venv"
    python3 -m venv "$local/venv"
    "$local/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --requirement checks/chart/requirements.txt
    printf '%s\n' "$wanted" >"$local/installed"
fi
cd checks/chart
exec env PYTHONDONTWRITEBYTECODE=1 "$local/venv/bin/python" -W ignore -m unittest --verbose "$@"
