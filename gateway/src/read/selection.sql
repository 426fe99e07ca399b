SELECT g.id, c.name AS cluster_id, h.name AS host_id, g.gpu_index AS gpu_id, g.uuid, l.ts AS newest
FROM gpus g
JOIN hosts h ON h.id = g.host_id
JOIN clusters c ON c.id = h.cluster_id
LEFT JOIN gpu_latest l ON l.gpu_id = g.id
WHERE ($1::text IS NULL OR c.name = $1)
  AND ($2::text IS NULL OR h.name = $2)
  AND ($3::text IS NULL OR g.gpu_index = $3 OR g.uuid = $3)
