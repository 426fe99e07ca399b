-- The batches of some lanes, in the order of their source.
SELECT l.published_at, l.lane, l.run, l.n, l.pass, l.row_count, l.dead, l.expired,
    l.first_line, l.last_line, l.first_byte, l.end_byte, l.shift_us
FROM ledger l
JOIN clusters c ON c.id = l.cluster_id
WHERE c.name = $1 AND l.lane = ANY ($2)
