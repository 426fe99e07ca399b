-- Events in order of time, each filter left out where its parameter is null. `behind` and `order` go by the order asked for.
SELECT e.id, c.name AS cluster_id, e.host, e.gpu, e.uuid, e.at, e.noted_at, e.kind, e.condition, e.severity, e.since,
       e.code, e.detail
FROM events e
JOIN clusters c ON c.id = e.cluster_id
WHERE ($1::text IS NULL OR e.cluster_id = (SELECT id FROM clusters WHERE name = $1))
  AND ($2::text IS NULL OR e.host = $2)
  AND ($3::text IS NULL OR e.gpu = $3 OR e.uuid = $3)
  AND ($4::text IS NULL OR e.kind = $4)
  AND ($5::text IS NULL OR e.condition = $5)
  AND ($6::text[] IS NULL OR e.severity = ANY ($6))
  AND e.at >= $7 AND e.at < $8
  AND (e.at, e.id) /* behind */ ($9::timestamptz, $10::bigint)
ORDER BY e.at /* order */, e.id /* order */
LIMIT $11
