-- Notes which batches of which runs a day of the ledger holds: one row for each stretch without a gap, which lengthens the
-- one it follows.
WITH stretches AS (
    SELECT cluster_id, lane, run, min(n) AS first_n, max(n) AS last_n, min(rows_before) AS first_row,
        max(rows_before + row_count) AS end_row, min(published_at) AS since, max(file) AS file
    FROM (
        SELECT l.*, l.rows_before + l.row_count - sum(l.row_count) OVER (
            PARTITION BY l.cluster_id, l.lane, l.run ORDER BY l.rows_before, l.n
        ) AS piece
        FROM ledger l
        WHERE l.day = ($1::timestamptz AT TIME ZONE 'UTC')::date
    ) AS cut
    GROUP BY cluster_id, lane, run, piece
), lengthened AS (
    UPDATE ledger_dropped d SET last_n = s.last_n, end_row = s.end_row, file = s.file
    FROM stretches s
    WHERE d.cluster_id = s.cluster_id AND d.lane = s.lane AND d.run = s.run
        AND d.last_n + 1 = s.first_n AND d.end_row = s.first_row
    RETURNING s.cluster_id, s.lane, s.run, s.first_n
)
INSERT INTO ledger_dropped (cluster_id, lane, run, first_n, last_n, first_row, end_row, since, file)
SELECT s.cluster_id, s.lane, s.run, s.first_n, s.last_n, s.first_row, s.end_row, s.since, s.file
FROM stretches s
WHERE NOT EXISTS (
    SELECT FROM lengthened h
    WHERE h.cluster_id = s.cluster_id AND h.lane = s.lane AND h.run = s.run AND h.first_n = s.first_n
)
