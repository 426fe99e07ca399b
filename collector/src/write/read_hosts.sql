-- One row per host of the cluster. The arrays are in step: place, model, newest time.
SELECT h.id, h.name, array_agg(g.gpu_index) AS places, array_agg(g.model) AS models, array_agg(l.ts) AS newest
FROM hosts h
LEFT JOIN gpus g ON g.host_id = h.id
LEFT JOIN gpu_latest l ON l.gpu_id = g.id
WHERE h.cluster_id = $1
GROUP BY h.id
