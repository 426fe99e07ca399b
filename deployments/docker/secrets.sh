#!/bin/sh
# Makes the passwords that compose.yaml hands out, where there are none: secrets/, for its owner alone. The files in it can be
# read by everybody who gets into that folder, because a container's user, who is nobody here, has to read those it is given.
# Likewise backup/nexus, which containers write to as long as BACKUP_FOLDER names no other folder; that one is yours to make.
set -eu
cd "$(dirname "$0")"
[ -d secrets ] || mkdir -m 700 secrets
for name in postgres_password db_password backup_db_password grafana_db_password grafana_admin_password; do
    [ -s "secrets/$name" ] && continue
    (umask 022 && head -c 24 /dev/urandom | base64 | tr '+/' '-_' | tr -d '\n' >"secrets/$name")
    echo "made secrets/$name"
done
if [ ! -d backup ]; then
    mkdir -m 700 backup
    mkdir backup/nexus && chmod 1777 backup/nexus
    echo "made backup/nexus"
fi
