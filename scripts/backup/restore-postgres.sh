#!/usr/bin/env bash
# Restores PostgreSQL from a base backup and the archived log, into an empty folder, to a point in time or to the end of the
# log. Run it as the user that PostgreSQL runs as; docs/BACKUP.md says in which order.
#
#   restore-postgres.sh --data-dir DIR [--time TIME] [--base FOLDER] [--beside]
#
#   --data-dir DIR   PostgreSQL's data_directory: missing or empty
#   --time TIME      what was committed up to here: 2026-11-21T18:30:00Z; without it all that was archived
#   --base FOLDER    this backup; by default the newest in BACKUP_DIR/postgres that was whole at TIME
#   --beside         the server in use goes on: this one, for a trial or to look into, archives nothing. Its timeline in the archive
#                    would be the one that the next restore follows
#
# Then start PostgreSQL: it fetches the log with wal.sh, replays it, and takes writes, on a new timeline.
set -euo pipefail
# shellcheck source=scripts/backup/lib.sh
. "$(dirname "$0")/lib.sh"

data='' time='' base='' beside=''
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage ;;
        --beside)
            beside=yes
            shift
            continue
            ;;
    esac
    [ $# -ge 2 ] || refuse "$1 needs a value; --help tells more"
    case $1 in
        --data-dir) data=$2 ;;
        --time) time=$2 ;;
        --base) base=$2 ;;
        *) refuse "restore-postgres.sh does not know $1; --help tells what there is" ;;
    esac
    shift 2
done
[ "$(id -u)" -ne 0 ] || refuse "PostgreSQL does not run as root: run this as its user (sudo -u postgres …)"
[ -n "$data" ] || refuse "--data-dir is missing: where PostgreSQL keeps its data"
[ -n "${BACKUP_DIR:-}" ] || refuse "BACKUP_DIR is not set: where the backups are"
must_be_empty "$data"
BACKUP_DIR=$(cd "$BACKUP_DIR" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
at=''; [ -z "$time" ] || at=$(moment "$time")
[ -n "$base" ] || base=$(newest "$BACKUP_DIR/postgres" base '' "$at")
[ -n "$base" ] || die "no base backup in $BACKUP_DIR/postgres${time:+ was whole at $time}"
[ -e "$base/backup_manifest" ] || die "$base is no base backup"

began=$SECONDS
pg_verifybackup=$(needs pg_verifybackup postgresql-client)
look=(); program pg_waldump >/dev/null || look=(--no-parse-wal)
"$pg_verifybackup" --quiet --exit-on-error "${look[@]}" "$base" || die "$base is damaged: take another one with --base"

# global/pg_control comes last: without it no server starts on half a copy.
private "$data"
chmod 0700 -- "$data"
for entry in "$base"/* "$base"/.[!.]*; do
    case ${entry##*/} in global | '*' | '.[!.]*') ;; *) cp -a --reflink=auto -- "$entry" "$data/" ;; esac
done
mkdir -m 0700 -- "$data/global"
for entry in "$base"/global/*; do
    case ${entry##*/} in pg_control) ;; *) cp -a --reflink=auto -- "$entry" "$data/global/" ;; esac
done

# A value of postgresql.conf.
quoted() { printf "'%s'" "${1//\'/\'\'}"; }
{
    printf '\n# restore-postgres.sh of %s\n' "$base"
    printf 'restore_command = %s\n' "$(quoted "BACKUP_DIR=$(printf %q "$BACKUP_DIR") $(printf %q "$here/wal.sh") --fetch %f %p")"
    printf 'recovery_target_timeline = latest\n'
    printf 'recovery_target_time = %s\n' "$(quoted "${time:+$(TZ=UTC0 date -u -d "$time" '+%Y-%m-%d %H:%M:%S.%6N+00')}")"
    printf 'recovery_target_action = promote\n'
    [ -z "$beside" ] || printf 'archive_mode = off\n'
} >>"$data/postgresql.auto.conf"
: >"$data/recovery.signal"
sync -f "$data"
cp -a -- "$base/global/pg_control" "$data/global/pg_control"
sync -f "$data"

say "$data is restored from $base, $(du -sk "$data" | cut -f 1 | awk '{ printf "%d MiB", $1 / 1024 }') in $((SECONDS - began)) s. Start PostgreSQL; it replays the log${time:+ up to $time}:"
say "  psql -Atc 'SELECT pg_is_in_recovery(), pg_last_xact_replay_timestamp()'"
say "says f when it is there, and the point it stands at: restore-etcd.sh wants it as --before"
