-- Samples summed up per GPU and step ($7: other metrics, as everywhere; $8: the step in microseconds). Buckets are
-- counted from 1970, so that every question puts their bounds at the same times. $9 and $10 are the place of the last
-- page's last bucket.
WITH chosen AS (
    SELECT s.*, date_bin($8::bigint * interval '1 microsecond', s.ts, 'epoch'::timestamptz) AS bucket
    FROM samples s
    WHERE s.gpu_id = ANY ($1::integer[]) AND s.ts >= $2 AND s.ts < $3
      AND s.ts >= $4 AND s.ts < $5
      AND /* reported */
), page AS (
    SELECT s.gpu_id, s.bucket/* columns */
    FROM chosen s
    WHERE $9::timestamptz IS NULL OR (s.bucket, s.gpu_id) /* behind */ ($9, $10::integer)
    GROUP BY s.gpu_id, s.bucket
    ORDER BY s.bucket /* direction */, s.gpu_id /* direction */
    LIMIT $6
), others AS (
    SELECT gpu_id, bucket, jsonb_object_agg(name, value) AS ext
    FROM (
        SELECT s.gpu_id, s.bucket, e.key AS name, /* other */ AS value
        FROM chosen s
        JOIN page USING (gpu_id, bucket)
        CROSS JOIN LATERAL jsonb_each(s.ext) AS e (key, value)
        WHERE jsonb_typeof(e.value) = 'number' AND ($7::text[] IS NULL OR e.key = ANY ($7))
        GROUP BY s.gpu_id, s.bucket, e.key
    ) AS summed
    GROUP BY gpu_id, bucket
)
SELECT page.gpu_id, page.bucket, others.ext/* names */
FROM page
LEFT JOIN others USING (gpu_id, bucket)
ORDER BY page.bucket /* direction */, page.gpu_id /* direction */
