-- As samples_newest.sql, the other way round: `page` finds a time that a full page does not reach beyond.
WITH page AS (
    SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY COALESCE(nth.ts, $3)) AS ceiling
    FROM unnest($1::integer[]) AS gpu (id)
    LEFT JOIN LATERAL (
        SELECT s.ts
        FROM samples s
        WHERE s.gpu_id = gpu.id AND s.ts > $2 AND s.ts < $3 /* days of s.ts */ AND /* reported */
        ORDER BY s.ts
        OFFSET $6::bigint - 1 LIMIT 1
    ) AS nth ON true
)
SELECT s.gpu_id, s.ts, /* ext *//* columns */
FROM samples s
WHERE s.gpu_id = ANY ($1::integer[])
  AND s.ts < $3 AND s.ts >= $2 /* days of s.ts */ AND (s.ts, s.gpu_id) > ($2, $4::integer)
  AND s.ts <= (SELECT ceiling FROM page)
  AND /* reported */
ORDER BY s.ts, s.gpu_id
LIMIT $5
