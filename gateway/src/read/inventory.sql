-- One row per host; a cluster without hosts is one row without a host. The arrays are in step: place, model, newest time.
SELECT c.name AS cluster_id, h.name AS host_id,
       array_agg(g.gpu_index) AS places, array_agg(g.model) AS models, array_agg(l.ts) AS newest
FROM clusters c
LEFT JOIN hosts h ON h.cluster_id = c.id
LEFT JOIN gpus g ON g.host_id = h.id
LEFT JOIN gpu_latest l ON l.gpu_id = g.id
WHERE $1::text IS NULL OR c.name = $1
GROUP BY c.id, h.id
