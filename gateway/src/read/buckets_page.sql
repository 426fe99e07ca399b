-- A page of buckets: which are on it is found by times alone, and only their samples are read.
page AS (
    SELECT s.gpu_id, date_bin($8::bigint * interval '1 microsecond', s.ts, 'epoch'::timestamptz) AS bucket
    FROM samples s
    WHERE s.gpu_id = ANY ($1::integer[]) AND s.ts >= $2 AND s.ts < $3
      AND s.ts >= $4 AND s.ts < $5 /* days of s.ts */
      AND ($9::timestamptz IS NULL
           OR (date_bin($8::bigint * interval '1 microsecond', s.ts, 'epoch'::timestamptz), s.gpu_id)
              /* behind */ ($9, $10::integer))
      AND /* reported */
    GROUP BY s.gpu_id, bucket
    ORDER BY bucket /* direction */, s.gpu_id /* direction */
    LIMIT $6
), span AS (
    SELECT gpu_id, GREATEST(min(bucket), $2) AS low,
           LEAST(max(bucket) + $8::bigint * interval '1 microsecond', $3) AS high
    FROM page
    GROUP BY gpu_id
), chosen AS (
    -- OFFSET 0: one walk over the index for each GPU, whatever the planner guesses about all of them together.
    SELECT s.*
    FROM span
    CROSS JOIN LATERAL (
        SELECT s.*, date_bin($8::bigint * interval '1 microsecond', s.ts, 'epoch'::timestamptz) AS bucket
        FROM samples s
        WHERE s.gpu_id = span.gpu_id AND s.ts >= span.low AND s.ts < span.high AND s.ts >= $4 AND s.ts < $5 /* days of s.ts */
          AND /* reported */
        OFFSET 0
    ) AS s
    -- The page is a stretch of all buckets in their order: on it is what lies between its first and its last. A join with
    -- it would compare every sample with every bucket, because the planner takes both for a row or two.
    WHERE (s.bucket, s.gpu_id) >= (SELECT bucket, gpu_id FROM page ORDER BY bucket, gpu_id LIMIT 1)
      AND (s.bucket, s.gpu_id) <= (SELECT bucket, gpu_id FROM page ORDER BY bucket DESC, gpu_id DESC LIMIT 1)
)
