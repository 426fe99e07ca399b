-- Adds a day of the ledger to the sums of what was dropped.
INSERT INTO ledger_totals AS t (cluster_id, lane, batches, row_count, stored, dead, expired, republished)
SELECT l.cluster_id, l.lane, count(*), sum(l.row_count), sum(l.stored), sum(l.dead), sum(l.expired),
    COALESCE(sum(l.expired) FILTER (WHERE r.return_id IS NOT NULL), 0)
FROM ledger l
LEFT JOIN expired_returns r ON r.cluster_id = l.cluster_id AND r.lane = l.lane AND r.run = l.run AND r.n = l.n
WHERE l.day = ($1::timestamptz AT TIME ZONE 'UTC')::date
GROUP BY l.cluster_id, l.lane
ON CONFLICT (cluster_id, lane) DO UPDATE SET
    batches = t.batches + excluded.batches,
    row_count = t.row_count + excluded.row_count,
    stored = t.stored + excluded.stored,
    dead = t.dead + excluded.dead,
    expired = t.expired + excluded.expired,
    republished = t.republished + excluded.republished
