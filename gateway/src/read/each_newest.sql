-- The newest samples of each GPU ($1), at most $4 of each. $5: other metrics. A GPU costs one walk down the index of the
-- partitions, newest first, that ends with its last sample.
SELECT s.gpu_id, s.ts, /* ext *//* columns */
FROM unnest($1::integer[]) AS gpu (id)
CROSS JOIN LATERAL (
    SELECT *
    FROM samples s
    WHERE s.gpu_id = gpu.id AND s.ts >= $2 AND s.ts < $3 /* days of s.ts */ AND /* reported */
    ORDER BY s.ts DESC
    LIMIT $4
) AS s
ORDER BY s.gpu_id, s.ts DESC
