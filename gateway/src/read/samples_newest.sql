-- The newest samples of many GPUs in one order, without an index over time: every GPU has one over its own samples.
-- `page` finds a time that a full page does not reach behind. Half of the GPUs have their n-th sample ($6) after it,
-- and n is chosen so that these alone fill the page; a few GPUs that fell silent long ago do not move it.
WITH page AS (
    SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY COALESCE(nth.ts, $2) DESC) AS floor
    FROM unnest($1::integer[]) AS gpu (id)
    LEFT JOIN LATERAL (
        SELECT s.ts
        FROM samples s
        WHERE s.gpu_id = gpu.id AND s.ts >= $2 AND s.ts < $3 /* days of s.ts */ AND /* reported */
        ORDER BY s.ts DESC
        OFFSET $6::bigint - 1 LIMIT 1
    ) AS nth ON true
)
SELECT s.gpu_id, s.ts, /* ext *//* columns */
FROM samples s
WHERE s.gpu_id = ANY ($1::integer[])
  AND s.ts >= $2 AND s.ts <= $3 /* days of s.ts */ AND (s.ts, s.gpu_id) < ($3, $4::integer)
  AND s.ts >= (SELECT floor FROM page)
  AND /* reported */
ORDER BY s.ts DESC, s.gpu_id DESC
LIMIT $5
