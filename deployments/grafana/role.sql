-- Grafana's user in the database of Nexus: it reads, for ten seconds at most. Run it as an administrator once the tables are
-- there, and again whenever you like; it gives no password:
--
--   psql -d telemetry -f deployments/grafana/role.sql -c '\password grafana'
DO $$
DECLARE
    owner name;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'grafana') THEN
        CREATE ROLE grafana LOGIN;
    END IF;
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO grafana', current_database());
    -- Tables that come later, such as a day's partition, are made by who owns those that are there.
    FOR owner IN SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public' LOOP
        EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA public GRANT SELECT ON TABLES TO grafana', owner);
    END LOOP;
END
$$;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO grafana;
ALTER ROLE grafana SET statement_timeout = '10s';
ALTER ROLE grafana SET default_transaction_read_only = on;
