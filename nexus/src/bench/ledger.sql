-- What the ledger says became of the rows, and how large the database is.
SELECT COALESCE(sum(stored), 0)::bigint, COALESCE(sum(dead), 0)::bigint, COALESCE(sum(expired), 0)::bigint,
    pg_database_size(current_database())
FROM ledger
