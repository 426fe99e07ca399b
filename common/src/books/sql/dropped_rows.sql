-- Rows of these lanes that retention has dropped from the ledger.
SELECT sum(d.end_row - d.first_row)::bigint AS rows
FROM ledger_dropped d
JOIN clusters c ON c.id = d.cluster_id
WHERE c.name = $1 AND d.lane = ANY ($2)
