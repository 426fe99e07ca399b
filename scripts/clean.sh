#!/usr/bin/env bash
# Removes the local stack with its data: .nexus, and the folder it leads to where PostgreSQL's user could not enter it.
set -euo pipefail

dir=${NEXUS_DIR:-.nexus}
# What checks/clients keeps there: its clients, and stacks of runs that were killed.
if [ -f "$dir/clients/.gitignore" ]; then
    for stack in "$dir"/clients/stack.*; do
        [ ! -d "$stack" ] || NEXUS_DIR=$stack "$0"
    done
    rm -rf -- "$dir/clients"
    rmdir -- "$dir" 2>/dev/null && exit 0
fi
# Only a folder that nexus made: it marks each with a .gitignore and a lock.
[ -f "$dir/lock" ] || [ -d "$dir/etcd" ] || [ -d "$dir/postgres" ] || [ -d "$dir/prometheus/wal" ] || exit 0
elsewhere=$(readlink "$dir/postgres" 2>/dev/null || true)
case $elsewhere in
    /var/tmp/nexus-*/postgres) rm -rf -- "${elsewhere%/postgres}" ;;
esac
rm -rf -- "$dir"
echo "removed $dir"
