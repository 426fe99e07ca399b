-- Roles of least privilege for a database of Nexus: run this as a superuser in that database, after the first migration, and
-- again after every upgrade. Running it again changes nothing that is right already.
--
--   psql -d telemetry -f scripts/roles-postgres.sql
--   psql -d telemetry -c '\password nexus_collector'        likewise the others: they have no password yet
--
--   nexus_migrate    owns the schema: DB_USER of `nexus` or a component that runs with DB_MIGRATE=true, once per upgrade
--   nexus_collector  writes what was reported; DB_MIGRATE=false
--   nexus_gateway    reads, and nothing else; DB_MIGRATE=false
--   nexus_operator   redrives, republishes and purges: DB_USER of `nexus dlq` and `nexus expired`, and OPERATOR_DB_USER of
--                    a gateway with ENABLE_OPERATOR_ROUTES
--
-- Two things go further than one would wish. Only the owner of a partitioned table may give it a partition, so the collector
-- owns the partitioned tables and could drop them; and whoever migrates has to change partitions that collectors made, so
-- nexus_migrate is a member of nexus_collector.

DO $roles$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['nexus_migrate', 'nexus_collector', 'nexus_gateway', 'nexus_operator'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE', role);
        END IF;
    END LOOP;
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO nexus_migrate, nexus_collector, nexus_gateway, nexus_operator',
                   current_database());
    -- Staging tables are temporary.
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO nexus_collector', current_database());
END
$roles$;

GRANT nexus_collector TO nexus_migrate;
ALTER ROLE nexus_gateway SET default_transaction_read_only = on;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO nexus_migrate, nexus_collector, nexus_gateway, nexus_operator;
GRANT CREATE ON SCHEMA public TO nexus_migrate, nexus_collector;

DO $tables$
DECLARE
    tab record;
    may text;
BEGIN
    FOR tab IN
        SELECT c.relname AS name, c.relkind = 'p' OR c.relispartition AS is_partitioned
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p')
    LOOP
        EXECUTE format('ALTER TABLE %I OWNER TO %I', tab.name,
                       CASE WHEN tab.is_partitioned THEN 'nexus_collector' ELSE 'nexus_migrate' END);
        EXECUTE format('REVOKE ALL ON %I FROM PUBLIC, nexus_gateway, nexus_operator', tab.name);
        EXECUTE format('GRANT SELECT ON %I TO nexus_gateway, nexus_operator', tab.name);
        IF tab.is_partitioned THEN
            CONTINUE;
        END IF;
        may := CASE tab.name
            -- What is written once, and by others, stays as it is.
            WHEN 'dead_letters' THEN 'SELECT, INSERT'
            WHEN 'events' THEN 'SELECT, INSERT'
            WHEN 'clusters' THEN 'SELECT, INSERT'
            WHEN 'hosts' THEN 'SELECT, INSERT'
            WHEN 'gpus' THEN 'SELECT, INSERT, UPDATE'
            WHEN 'gpu_latest' THEN 'SELECT, INSERT, UPDATE'
            WHEN 'metrics' THEN 'SELECT'
            WHEN 'returns' THEN 'SELECT'
            WHEN 'expired_returns' THEN 'SELECT'
            WHEN 'refinery_schema_history' THEN 'SELECT'
            WHEN 'operator_actions' THEN NULL
            ELSE 'SELECT, INSERT, UPDATE, DELETE'
        END;
        EXECUTE format('REVOKE ALL ON %I FROM nexus_collector', tab.name);
        IF may IS NOT NULL THEN
            EXECUTE format('GRANT %s ON %I TO nexus_collector', may, tab.name);
        END IF;
    END LOOP;
END
$tables$;

GRANT INSERT ON returns, expired_returns, operator_actions TO nexus_operator;
GRANT UPDATE (row_count, finished_at) ON returns TO nexus_operator;
GRANT UPDATE (return_id, raw, purged_at) ON dead_letters TO nexus_operator;
GRANT DELETE ON expired_returns TO nexus_operator;

-- Tables of later versions, until this is run again.
ALTER DEFAULT PRIVILEGES FOR ROLE nexus_migrate IN SCHEMA public GRANT SELECT ON TABLES TO nexus_gateway, nexus_operator;
ALTER DEFAULT PRIVILEGES FOR ROLE nexus_migrate IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO nexus_collector;
