#!/usr/bin/env bash
# Archives a segment of PostgreSQL's log into BACKUP_DIR/wal, and brings it back. PostgreSQL itself calls it:
#
#   # postgresql.conf; archive_mode needs a restart, the others `SELECT pg_reload_conf()`
#   wal_level = replica
#   archive_mode = on
#   archive_command = 'BACKUP_DIR=/var/backups/nexus /opt/nexus/backup/wal.sh "%p" "%f"'
#   archive_timeout = 60s                 # what at most is lost with the disk: this, and the time archiving takes
#   checkpoint_timeout = 2min             # and right after a start this: archive_timeout is not looked at before
#
# Archived again, the same file is good, and another one of the same name is refused: two servers must never share an archive.
# A segment is there whole and on disk, or not at all; PostgreSQL keeps its own until then, and tries again. It keeps them
# without end, so look whether it works: `nexus doctor`, or
#
#   SELECT last_archived_time, failed_count, last_failed_wal, last_failed_time FROM pg_stat_archiver;
#
# `wal.sh --fetch NAME PATH` is the restore_command that restore-postgres.sh writes. It ends with 1 where the archive has no such
# segment, and with 200 where nobody can tell, or the segment cannot be brought back whole.
set -euo pipefail
# A restore_command that ends with 1 to 125 tells PostgreSQL that the log is over: it takes writes, however much is missing. Above
# 125 it gives up. 200 is none of the shell's own: 126 and 127, and 128 and a signal.
failed=1
[ "${1:-}" != --fetch ] || failed=200
# PostgreSQL shows what stands here in its log.
die() {
    printf '%s\n' "wal.sh: $*" >&2
    exit "$failed"
}

case ${1:-} in
    -h | --help)
        sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
esac
[ -n "${BACKUP_DIR:-}" ] || die "BACKUP_DIR is not set: archive_command = 'BACKUP_DIR=/var/backups/nexus …/wal.sh \"%p\" \"%f\"'"
archive=$BACKUP_DIR/wal
umask 077

if [ "${1:-}" = --fetch ]; then
    [ $# -eq 3 ] || die "it is called as wal.sh --fetch %f %p"
    wanted=$archive/$2.gz
    if [ ! -e "$wanted" ]; then
        # Not to be seen is not yet not there: the folder itself has to say so.
        names=$(ls -A -- "$archive") || die "cannot look into $archive: is it mounted, and may PostgreSQL's user read it?"
        # There is an end to every log: no word about it.
        case $'\n'$names$'\n' in *$'\n'"$2.gz"$'\n'*) ;; *) exit 1 ;; esac
    fi
    if ! gzip -dc -- "$wanted" >"$3"; then
        rm -f -- "$3"
        die "$wanted cannot be brought back whole: the restore ends before it. Have it from another copy of the archive, and start again"
    fi
    exit 0
fi

[ $# -eq 2 ] || die "it is called as wal.sh %p %f"
segment=$1 name=$2
[[ $name =~ ^[0-9A-Fa-z.]+$ && $name != .* ]] || die "'$name' is no name of a segment"
[ -f "$segment" ] || die "$segment is not there"
mkdir -p -- "$archive" || die "cannot write to $archive"
archived=$archive/$name.gz

is_same() { gzip -dc -- "$1" 2>/dev/null | cmp -s -- - "$segment"; }

if [ -e "$archived" ]; then
    is_same "$archived" || die "$archived is there and is another one: REFUSED. Does another server archive to $BACKUP_DIR?"
    sync "$archived" "$archive"
    exit 0
fi
half=$archive/.$name.$$
trap 'rm -f -- "$half"' EXIT
# With archive_timeout most of a segment is zeros.
gzip -1 -n -c -- "$segment" >"$half" || die "cannot write to $archive"
is_same "$half" || die "$half is not what was written"
sync "$half"
# A link never replaces what is there.
ln -- "$half" "$archived" || die "cannot make $archived"
sync "$archive"
