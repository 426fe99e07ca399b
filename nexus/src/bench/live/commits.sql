-- When each sample from :since (microseconds since 1970) on was committed, and when the oldest batch of its transaction was
-- published, in microseconds since 1970. Every sample of the run was inserted once, by one transaction; batches and samples
-- of one transaction share its id.
WITH published AS (
    SELECT xmin AS transaction, min(published_at) AS at
    FROM ledger
    GROUP BY xmin
)
SELECT h.name AS host, g.gpu_index AS gpu, (extract(epoch FROM s.ts) * 1000000)::bigint AS ts,
       (extract(epoch FROM pg_xact_commit_timestamp(s.xmin)) * 1000000)::bigint AS committed,
       (extract(epoch FROM published.at) * 1000000)::bigint AS published
FROM samples s
JOIN published ON published.transaction = s.xmin
JOIN gpus g ON g.id = s.gpu_id
JOIN hosts h ON h.id = g.host_id
WHERE s.ts >= to_timestamp(:since / 1000000.0) AND h.name LIKE 'live-%'
