SELECT l.lane, sum(l.expired)::bigint AS rows
FROM expired_returns r
JOIN ledger l ON l.cluster_id = r.cluster_id AND l.lane = r.lane AND l.run = r.run AND l.n = r.n
WHERE r.cluster_id = $1
GROUP BY l.lane
