-- A part of the registry with the newest values, in the order of the ids: $1 is the last one of the part before.
SELECT g.id, c.name AS cluster_id, h.name AS host_id, g.gpu_index, g.uuid, g.model, g.device, g.labels,
       l.ts, l.ext/* columns */
FROM gpus g
JOIN hosts h ON h.id = g.host_id
JOIN clusters c ON c.id = h.cluster_id
LEFT JOIN gpu_latest l ON l.gpu_id = g.id
WHERE g.id > $1
ORDER BY g.id
LIMIT $2
