-- The partitions that collectors have made, with their first day: samples before their rollups, hours last, which are by
-- month. One of another name somebody made by hand, and keeps.
SELECT p.relname::text, substring(c.relname FROM '[0-9]{8}$')::text
FROM pg_inherits i
JOIN pg_class p ON p.oid = i.inhparent
JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = ANY (ARRAY['samples'::regclass, 'ledger'::regclass, 'rollup_minutes'::regclass, 'rollup_fives'::regclass,
        'rollup_hours'::regclass])
    AND c.relname ~ ('^' || p.relname || '_[0-9]{8}$')
ORDER BY p.relname = 'rollup_hours', 2, 1 DESC
