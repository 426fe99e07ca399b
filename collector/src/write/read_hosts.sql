-- One row per host, a page of them by id. The arrays are in step: place, model, newest time.
SELECT h.id, h.name, array_agg(g.gpu_index) AS places, array_agg(g.model) AS models, array_agg(l.ts) AS newest
FROM (SELECT id, name FROM hosts WHERE cluster_id = $1 AND id > $2 ORDER BY id LIMIT $3) h
LEFT JOIN gpus g ON g.host_id = h.id
LEFT JOIN gpu_latest l ON l.gpu_id = g.id
GROUP BY h.id, h.name
ORDER BY h.id
