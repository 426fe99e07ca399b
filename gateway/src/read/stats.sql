-- How the newest values of a cluster's GPUs are spread, one row per metric that any of them reported.
SELECT m.name, count(*) AS count, count(*) FILTER (WHERE m.at < $2) AS stale,
       min(m.value) AS min, avg(m.value) AS avg, max(m.value) AS max,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY m.value) AS p95
FROM clusters c
JOIN gpus g ON g.cluster_id = c.id
JOIN gpu_latest l ON l.gpu_id = g.id
CROSS JOIN LATERAL (VALUES /* metrics */) AS m (name, value, at)
WHERE c.name = $1 AND m.value IS NOT NULL
GROUP BY m.name
