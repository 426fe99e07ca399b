-- Batches of these lanes whose expired rows were published again to the end; $3 are lanes that still have something queued.
SELECT l.published_at, l.lane, l.run, l.n
FROM expired_returns e
JOIN returns r ON r.id = e.return_id AND r.finished_at IS NOT NULL
JOIN clusters c ON c.id = e.cluster_id
JOIN ledger l ON l.cluster_id = e.cluster_id AND l.lane = e.lane AND l.run = e.run AND l.n = e.n
WHERE c.name = $1 AND e.lane = ANY ($2) AND r.kind || '-' || r.id <> ALL ($3)
