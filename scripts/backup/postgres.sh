#!/usr/bin/env bash
# Takes a base backup of PostgreSQL, verified by its manifest, into BACKUP_DIR/postgres; the last BACKUP_KEEP (7) stay, and
# in BACKUP_DIR/wal the log that is needed from the first place on where one of them begins.
#
#   BACKUP_DIR=/var/backups/nexus DB_HOST=db DB_PORT=5432 DB_USER=nexus_backup DB_PASSWORD_FILE=/etc/nexus/backup postgres.sh
#
# DB_HOST, DB_PORT, DB_USER, DB_PASSWORD or DB_PASSWORD_FILE, DB_SSLMODE, DB_CA_FILE, DB_CERT_FILE and DB_KEY_FILE mean what
# they mean for the components; the user needs REPLICATION, and a line `host replication …` in pg_hba.conf:
#
#   CREATE ROLE nexus_backup LOGIN REPLICATION PASSWORD '…';
#
# BACKUP_METRICS_DIR: tells Prometheus's node exporter when the last one was whole, how large, and how long it took.
#
# A backup is named after the moment it was whole: base-20261121T183000Z. It holds the log it needs for itself; the archive
# that wal.sh fills leads from there to any later point. restore-postgres.sh restores it.
set -euo pipefail
# shellcheck source=scripts/backup/lib.sh
. "$(dirname "$0")/lib.sh"
case ${1:-} in -h | --help) usage ;; '') ;; *) refuse "postgres.sh takes no arguments; --help tells its variables" ;; esac

keep=$(keep 7)
pg_basebackup=$(needs pg_basebackup postgresql-client)
pg_verifybackup=$(needs pg_verifybackup postgresql-client)
into=$(folder postgres)
only_one "$into"
ask_postgres
umask 077
half=$into/.half
trap 'rm -rf -- "$half"' EXIT
rm -rf -- "$half"

began=$SECONDS
"$pg_basebackup" --pgdata "$half" --no-password --wal-method stream --checkpoint fast --manifest-checksums SHA256 \
    --label nexus || die "no base backup of $PGHOST:$PGPORT"
# Without pg_waldump, which comes with the server, the log in the backup is not looked through; the files are.
look=(); program pg_waldump >/dev/null || look=(--no-parse-wal)
"$pg_verifybackup" --quiet --exit-on-error "${look[@]}" "$half" || die "the base backup of $PGHOST:$PGPORT is not whole"
[ -z "$(ls -A -- "$half/pg_tblspc")" ] || die "the database has tablespaces: these scripts do not know how to restore those"

base=$into/base-$(by_now)
mv -T -- "$half" "$base"
sync "$into"
size=$(du -sk "$base" | cut -f 1)
took=$((SECONDS - began))
say "$base of $PGHOST:$PGPORT: $((size / 1024)) MiB, verified, $took s"
told postgres "$((size * 1024))" "$took"

backups "$into" base '' | tail -n +"$((keep + 1))" | while read -r old; do
    rm -rf -- "$old"
    say "removed $old: $keep are kept"
done

[ -d "$BACKUP_DIR/wal" ] || exit 0
# What wal.sh had begun when it was killed: `.NAME.PID`. No segment takes a day.
find "$BACKUP_DIR/wal" -maxdepth 1 -type f -name '.[0-9A-F]*.[0-9]*' -mmin +1440 -print -delete | while read -r left; do
    say "removed $left: wal.sh was killed over it"
done

# The log is needed from the first place on where a backup begins: `START WAL LOCATION: 0/2000028 (file 000000010000000000000002)`.
# That need not be the oldest backup: one of a timeline that a restore has left can lie behind those of the new one.
first=''
while read -r kept; do
    begins=$(sed -n 's/^START WAL LOCATION: .*(file \([0-9A-F]\{24\}\))$/\1/p' "$kept/backup_label")
    [ -n "$begins" ] || die "$kept/backup_label does not say where its log begins: nothing of the archive is removed"
    if [ -z "$first" ] || [[ ${begins:8:16} < ${first:8:16} ]]; then first=$begins; fi
done < <(backups "$into" base '')
removed=0
for segment in "$BACKUP_DIR"/wal/*; do
    name=${segment##*/}
    # Histories of timelines stay for ever. A segment's first eight digits are its timeline: its place is the rest.
    [[ $name =~ ^[0-9A-F]{24}(\.partial|\.[0-9A-F]{8}\.backup)?\.gz$ ]] || continue
    if [[ ${name:8:16} < ${first:8:16} ]]; then
        rm -f -- "$segment"
        removed=$((removed + 1))
    fi
done
[ "$removed" -eq 0 ] || say "removed $removed files of the log before $first: no backup needs them"
