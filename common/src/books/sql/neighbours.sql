-- The batches before and behind a hole of a lane: the one that ends at row $3, and the one that begins at row $4.
SELECT l.rows_before >= $4 AS behind, l.published_at, l.lane, l.run, l.n, l.file, l.pass,
    l.first_line, l.last_line, l.first_byte, l.end_byte
FROM ledger l
WHERE l.cluster_id = $1 AND l.lane = $2 AND (l.rows_before + l.row_count = $3 OR l.rows_before = $4)
ORDER BY l.published_at
