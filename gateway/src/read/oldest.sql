-- About when the samples of these GPUs ($1) begin: their first hour that is rolled up. What is stored with older times and not
-- rolled up yet is missed; whoever asks takes it as a hint.
SELECT min(oldest.start)
FROM unnest($1::integer[]) AS gpu (id)
CROSS JOIN LATERAL (
    SELECT r.start FROM rollup_hours r WHERE r.gpu_id = gpu.id ORDER BY r.start LIMIT 1
) AS oldest
