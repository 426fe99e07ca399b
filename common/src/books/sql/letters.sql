-- The dead letters there are of each lane, in rows.
SELECT lane, sum(row_count)::bigint AS rows,
    COALESCE(sum(row_count) FILTER (WHERE return_id IS NOT NULL), 0)::bigint AS redriven,
    COALESCE(sum(row_count) FILTER (WHERE purged_at IS NOT NULL), 0)::bigint AS purged
FROM dead_letters
WHERE cluster_id = $1
GROUP BY lane
