-- Grafana's role: it reads what Nexus has stored, and nothing else. Run this as a superuser in the database of Nexus, after the
-- first migration; running it again changes nothing that is right already.
--
--   psql -d telemetry -f deployments/grafana/role.sql -c '\password grafana'

DO $role$
DECLARE
    owner text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'grafana') THEN
        CREATE ROLE grafana LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
    END IF;
    -- Where scripts/roles-postgres.sql was run nobody gets in who is not named.
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO grafana', current_database());
    -- Tables of later versions and days, by whoever makes them.
    FOR owner IN
        SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()
        UNION SELECT tableowner FROM pg_tables WHERE schemaname = 'public'
    LOOP
        EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA public GRANT SELECT ON TABLES TO grafana', owner);
    END LOOP;
END
$role$;

GRANT USAGE ON SCHEMA public TO grafana;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO grafana;
ALTER ROLE grafana SET statement_timeout = '10s';
ALTER ROLE grafana SET default_transaction_read_only = on;
