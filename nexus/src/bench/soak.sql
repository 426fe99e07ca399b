-- Rows stored so far, and from publish to COMMIT in ms of what was stored in the last :ms milliseconds.
SELECT COALESCE(sum(row_count), 0)::bigint,
    COALESCE(percentile_cont(0.5) WITHIN GROUP (ORDER BY late) FILTER (WHERE recent), 0),
    COALESCE(percentile_cont(0.99) WITHIN GROUP (ORDER BY late) FILTER (WHERE recent), 0)
FROM (
    SELECT row_count, 1000 * extract(epoch FROM stored_at - published_at)::float8 AS late,
        stored_at > now() - interval ':ms ms' AS recent
    FROM ledger
) AS batches
