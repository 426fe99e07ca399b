# shellcheck shell=bash
# What the backup scripts share: words, programs, moments, and how etcd and PostgreSQL are asked. Sourced, not run.

say() { printf '%s\n' "${0##*/}: $*"; }
warn() { printf '%s\n' "${0##*/}: $*" >&2; }
die() {
    warn "$*"
    exit 1
}
# A wrong setting: nothing was tried.
refuse() {
    warn "$*"
    exit 2
}

# The header of the script that runs, for --help.
usage() {
    sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p;}' "$0"
    exit 0
}

# The program by its name: on PATH, or where Debian, Red Hat and Homebrew keep PostgreSQL's, the newest first.
program() {
    local path found=''
    if command -v "$1"; then return; fi
    while read -r path; do
        if [ -z "$found" ] && [ -x "$path" ]; then found=$path; fi
    done < <(printf '%s\n' /usr/lib/postgresql/*/bin/"$1" /usr/pgsql-*/bin/"$1" /opt/homebrew/opt/postgresql@*/bin/"$1" | sort -rV)
    [ -n "$found" ] && printf '%s\n' "$found"
}

needs() {
    program "$1" || die "$1 is not here: install $2"
}

# This moment as backups are named, 20261121T183000Z, rounded up: what is named so was whole by then. Names sort by time.
by_now() { date -u -d '1 second' +%Y%m%dT%H%M%SZ; }

# The same of what people write, rounded down: anything that date(1) understands; UTC unless it says otherwise.
moment() {
    TZ=UTC0 date -u -d "$1" +%Y%m%dT%H%M%SZ 2>/dev/null \
        || refuse "'$1' is no time: write it as 2026-11-21T18:30:00Z"
}

# A folder, made for us alone where there is none.
private() { [ -d "$1" ] || { mkdir -p -- "$1" && chmod 0700 -- "$1"; }; }

# BACKUP_DIR/$1: made when missing.
folder() {
    [ -n "${BACKUP_DIR:-}" ] || refuse "BACKUP_DIR is not set: the folder backups go to, on another disk or machine than the data"
    private "$BACKUP_DIR/$1" || die "cannot write to $BACKUP_DIR"
    printf '%s\n' "$BACKUP_DIR/$1"
}

# One run at a time in this folder. The lock goes with the process.
only_one() {
    command -v flock >/dev/null || return 0
    exec 9>"$1/.lock"
    flock -n 9 || die "another run is at work in $1"
}

# How many are kept.
keep() {
    local keep=${BACKUP_KEEP:-$1}
    [[ $keep =~ ^[1-9][0-9]*$ ]] || refuse "BACKUP_KEEP=$keep: how many backups are kept, 1 or more"
    printf '%s\n' "$keep"
}

# A password: of the variable, or of the file that another one names.
password() {
    local file=$1_FILE
    if [ -n "${!file:-}" ]; then
        [ -r "${!file}" ] || refuse "$file=${!file}: cannot be read"
        printf '%s' "$(<"${!file}")"
    else
        printf '%s' "${!1:-}"
    fi
}

# Says when a backup of kind $1 was last whole, its size $2 in bytes and how long it took, $3 in seconds, for Prometheus's node
# exporter (--collector.textfile.directory): BACKUP_METRICS_DIR. The backup is there in any case: where this cannot be said, the old
# word stands, and its age rings.
told() {
    [ -n "${BACKUP_METRICS_DIR:-}" ] || return 0
    local file=$BACKUP_METRICS_DIR/nexus_backup_$1.prom
    local half=$file.$$
    # The exporter reads *.prom alone, at any moment: whole, or as it was.
    if figures "$@" >"$half" && chmod 0644 "$half" && mv -f -- "$half" "$file"; then return 0; fi
    rm -f -- "$half"
    warn "the backup is whole, and nobody is told: cannot write to BACKUP_METRICS_DIR=$BACKUP_METRICS_DIR"
}

# The exporter takes what several files say of one metric, if they describe it in the same words.
figures() {
    cat <<END
# HELP nexus_backup_last_success_timestamp_seconds When the last verified backup was whole, in seconds since 1970.
# TYPE nexus_backup_last_success_timestamp_seconds gauge
nexus_backup_last_success_timestamp_seconds{kind="$1"} $(date +%s)
# HELP nexus_backup_size_bytes Its size.
# TYPE nexus_backup_size_bytes gauge
nexus_backup_size_bytes{kind="$1"} $2
# HELP nexus_backup_duration_seconds How long it took, verified.
# TYPE nexus_backup_duration_seconds gauge
nexus_backup_duration_seconds{kind="$1"} $3
END
}

# etcd's programs read these; a flag beside a variable of the same name is refused by them, so there are variables only.
ask_etcd() {
    local password
    export ETCDCTL_API=3
    [ -z "${ETCD_CA_FILE:-}" ] || export ETCDCTL_CACERT=$ETCD_CA_FILE
    [ -z "${ETCD_CERT_FILE:-}" ] || export ETCDCTL_CERT=$ETCD_CERT_FILE
    [ -z "${ETCD_KEY_FILE:-}" ] || export ETCDCTL_KEY=$ETCD_KEY_FILE
    if [ -n "${ETCD_USER:-}" ]; then
        password=$(password ETCD_PASSWORD)
        export ETCDCTL_USER=$ETCD_USER:$password
    fi
}

# ETCD_ENDPOINTS, one a line, each with a scheme as the components give it one.
endpoints() {
    local scheme=http all endpoint
    [ -z "${ETCD_CA_FILE:-}${ETCD_CERT_FILE:-}" ] || scheme=https
    IFS=, read -r -a all <<<"${ETCD_ENDPOINTS:-localhost:2379}"
    for endpoint in "${all[@]}"; do
        case $endpoint in
            *://*) printf '%s\n' "$endpoint" ;;
            *) printf '%s\n' "$scheme://$endpoint" ;;
        esac
    done
}

# What a snapshot says of itself, as JSON: etcdutl's since 3.5, etcdctl's before.
snapshot_status() {
    if command -v etcdutl >/dev/null; then
        etcdutl snapshot status "$1" -w json
    else
        etcdctl snapshot status "$1" -w json
    fi
}

# libpq's variables from the components' own; no password stands on a command line.
ask_postgres() {
    export PGHOST=${DB_HOST:-localhost} PGPORT=${DB_PORT:-5433} PGUSER=${DB_USER:-telemetry} PGSSLMODE=${DB_SSLMODE:-prefer}
    PGPASSWORD=$(password DB_PASSWORD)
    if [ -n "$PGPASSWORD" ]; then export PGPASSWORD; else unset PGPASSWORD; fi
    export PGCONNECT_TIMEOUT=10 PGAPPNAME=nexus-backup
    case $PGSSLMODE in
        verify-*) export PGSSLROOTCERT=${DB_CA_FILE:-/etc/ssl/certs/ca-certificates.crt} ;;
        *) [ -z "${DB_CA_FILE:-}" ] || export PGSSLROOTCERT=$DB_CA_FILE ;;
    esac
    [ -z "${DB_CERT_FILE:-}" ] || export PGSSLCERT=$DB_CERT_FILE
    [ -z "${DB_KEY_FILE:-}" ] || export PGSSLKEY=$DB_KEY_FILE
}

# The backups in folder $1 that are called $2-TIME$3, the newest first.
backups() {
    local path
    for path in "$1/$2"-[0-9]*T[0-9]*Z"$3"; do
        [ ! -e "$path" ] || printf '%s\n' "$path"
    done | sort -r
}

# The moment in a backup's name.
moment_of() {
    local name=${1##*/}
    name=${name#*-}
    printf '%s\n' "${name%%.*}"
}

# The newest of these backups that was whole at moment $4, or of all. Nothing where there is none.
newest() {
    local path found=''
    while read -r path; do
        [ -z "$found" ] || continue
        if [ -z "${4:-}" ] || [[ ! $(moment_of "$path") > $4 ]]; then found=$path; fi
    done < <(backups "$1" "$2" "$3")
    printf '%s\n' "$found"
}

# Whether a folder may be restored into: it is missing, or empty.
must_be_empty() {
    if [ -e "$1" ] && [ -n "$(ls -A -- "$1")" ]; then
        die "$1 is not empty: nothing is ever restored over data. Stop the server, move that folder away, and come again"
    fi
}
