SELECT d.line, d.row_count
FROM dead_letters d
JOIN clusters c ON c.id = d.cluster_id
WHERE c.name = $1 AND d.lane = $2 AND d.batch = $3
