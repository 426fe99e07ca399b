-- What the ledger holds of each run of each lane. $2..$4 are the runs whose cursor is known, and its n: batches behind it
-- are later than the cursor and counted apart.
SELECT l.lane, l.run,
    min(l.n) AS first_n,
    min(l.rows_before) AS first_row,
    (extract(epoch FROM min(l.published_at)) * 1000)::bigint AS since_ms,
    max(l.n) AS last_n,
    max(l.n) FILTER (WHERE k.n IS NULL OR l.n <= k.n) AS known_n,
    max(l.rows_before + l.row_count) FILTER (WHERE k.n IS NULL OR l.n <= k.n) AS end_row,
    count(*) FILTER (WHERE k.n IS NULL OR l.n <= k.n) AS batches,
    sum(l.row_count) FILTER (WHERE k.n IS NULL OR l.n <= k.n) AS rows,
    sum(l.stored) FILTER (WHERE k.n IS NULL OR l.n <= k.n) AS stored,
    sum(l.dead) FILTER (WHERE k.n IS NULL OR l.n <= k.n) AS dead,
    sum(l.expired) FILTER (WHERE k.n IS NULL OR l.n <= k.n) AS expired,
    sum(l.dead) AS dead_ever,
    max(l.file) AS file
FROM ledger l
LEFT JOIN unnest($2::text[], $3::text[], $4::bigint[]) AS k (lane, run, n) ON k.lane = l.lane AND k.run = l.run
WHERE l.cluster_id = $1
GROUP BY l.lane, l.run
