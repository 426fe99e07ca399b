-- Of a cluster ($1): dead letters that are neither sent again nor purged, and what expired and was not published again.
WITH c AS (SELECT id FROM clusters WHERE name = $1),
open AS (SELECT l.* FROM dead_letters l JOIN c ON c.id = l.cluster_id
    WHERE return_id IS NULL AND purged_at IS NULL),
lost AS (SELECT l.* FROM ledger l JOIN c ON c.id = l.cluster_id WHERE l.expired > 0 AND NOT EXISTS
    (SELECT FROM expired_returns r WHERE (r.cluster_id, r.lane, r.run, r.n) = (l.cluster_id, l.lane, l.run, l.n)))
SELECT COALESCE((SELECT sum(row_count) FROM open), 0)::bigint,
    (SELECT reason FROM (SELECT reason FROM open ORDER BY id DESC LIMIT 1000) newest
     GROUP BY reason ORDER BY count(*) DESC, reason LIMIT 1),
    (SELECT max(created_at) FROM open),
    COALESCE((SELECT sum(expired) FROM lost), 0)::bigint,
    (SELECT max(stored_at) FROM lost)
