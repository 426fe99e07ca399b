-- The samples of these hours, hour by hour and each in order of time. OFFSET 0 keeps the inner question by itself, which
-- is a walk over the index for each hour: what the planner guesses about all hours together must not make it read more.
SELECT s.gpu_id, s.ts, s.ext/* columns */
FROM unnest($1::integer[], $2::timestamptz[]) AS due (gpu_id, hour)
CROSS JOIN LATERAL (
    SELECT *
    FROM samples s
    WHERE s.gpu_id = due.gpu_id AND s.ts >= due.hour AND s.ts < due.hour + interval '1 hour'
    ORDER BY s.ts
    OFFSET 0
) AS s
