-- Which of these batches the ledger has, or had.
SELECT b.lane, b.run, b.n
FROM unnest($2::bigint[], $3::text[], $4::text[], $5::bigint[]) AS b (published_ms, lane, run, n)
WHERE EXISTS (
    SELECT FROM ledger l
    WHERE l.day = (to_timestamp(b.published_ms / 1000.0) AT TIME ZONE 'UTC')::date
        AND l.cluster_id = $1 AND l.lane = b.lane AND l.run = b.run AND l.n = b.n
) OR EXISTS (
    SELECT FROM ledger_dropped d
    WHERE d.cluster_id = $1 AND d.lane = b.lane AND d.run = b.run AND b.n BETWEEN d.first_n AND d.last_n
)
