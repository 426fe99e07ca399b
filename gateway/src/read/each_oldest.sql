-- As each_newest.sql, the other way round.
SELECT s.gpu_id, s.ts, /* ext *//* columns */
FROM unnest($1::integer[]) AS gpu (id)
CROSS JOIN LATERAL (
    SELECT *
    FROM samples s
    WHERE s.gpu_id = gpu.id AND s.ts >= $2 AND s.ts < $3 /* days of s.ts */ AND /* reported */
    ORDER BY s.ts
    LIMIT $4
) AS s
ORDER BY s.gpu_id, s.ts
