-- The runs that do not tile their rows, cut into pieces that do. $2..$4 name the runs, and up to which n.
SELECT lane, run, min(rows_before) AS first_row, max(rows_before + row_count) AS end_row,
    count(*) AS batches, sum(stored)::bigint AS stored, sum(dead)::bigint AS dead, sum(expired)::bigint AS expired
FROM (
    SELECT l.lane, l.run, l.rows_before, l.row_count, l.stored, l.dead, l.expired,
        l.rows_before - sum(l.row_count) OVER (PARTITION BY l.lane, l.run ORDER BY l.rows_before, l.n) + l.row_count AS piece
    FROM ledger l
    JOIN unnest($2::text[], $3::text[], $4::bigint[]) AS k (lane, run, n) ON k.lane = l.lane AND k.run = l.run AND l.n <= k.n
    WHERE l.cluster_id = $1
) AS pieces
GROUP BY lane, run, piece
ORDER BY lane, run, first_row
