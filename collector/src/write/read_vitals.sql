-- The GPUs of some hosts; of several that followed each other at one index the one that reported last.
SELECT DISTINCT ON (g.host_id, g.gpu_index) g.host_id, g.gpu_index, g.uuid, l.ts/* vitals */
FROM gpus g
LEFT JOIN gpu_latest l ON l.gpu_id = g.id
WHERE g.host_id = ANY ($1)
ORDER BY g.host_id, g.gpu_index, l.ts DESC NULLS LAST, g.id DESC
