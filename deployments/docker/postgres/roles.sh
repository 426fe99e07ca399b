#!/usr/bin/env bash
# Run once by PostgreSQL's image, on an empty data folder: the components' role with its database, that of the backups, and
# Grafana's, which reads.
set -euo pipefail
psql --no-psqlrc --set=ON_ERROR_STOP=1 --username="${POSTGRES_USER:-postgres}" --dbname=postgres <<'SQL'
-- Read here and not handed over: arguments stand in the list of processes.
\set ours `cat /run/secrets/db_password`
\set backup `cat /run/secrets/backup_db_password`
\set grafana `cat /run/secrets/grafana_db_password`
CREATE ROLE telemetry LOGIN PASSWORD :'ours';
CREATE DATABASE telemetry OWNER telemetry;
CREATE ROLE nexus_backup LOGIN REPLICATION PASSWORD :'backup';
CREATE ROLE grafana LOGIN PASSWORD :'grafana';
ALTER ROLE grafana SET statement_timeout = '10s';
ALTER ROLE grafana SET default_transaction_read_only = on;
\connect telemetry
-- The tables come later, with the first collector or gateway.
ALTER DEFAULT PRIVILEGES FOR ROLE telemetry IN SCHEMA public GRANT SELECT ON TABLES TO grafana;
SQL
# "All" databases are none of a base backup's.
echo 'host replication nexus_backup all scram-sha-256' >>"$PGDATA/pg_hba.conf"
