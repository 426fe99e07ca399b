-- Which of these batches the ledger has.
SELECT l.lane, l.run, l.n
FROM unnest($2::bigint[], $3::text[], $4::text[], $5::bigint[]) AS b (published_ms, lane, run, n)
JOIN ledger l ON l.day = (to_timestamp(b.published_ms / 1000.0) AT TIME ZONE 'UTC')::date
    AND l.cluster_id = $1 AND l.lane = b.lane AND l.run = b.run AND l.n = b.n
