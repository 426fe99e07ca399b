-- The partition of one day, as the collector would make it.
CREATE TABLE IF NOT EXISTS samples_:name (LIKE samples INCLUDING ALL);
DO $make$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = 'samples_:name'::regclass) THEN
        ALTER TABLE samples ATTACH PARTITION samples_:name FOR VALUES FROM (':from') TO (':to');
    END IF;
END $make$
