-- Samples summed up per GPU and step ($7: other metrics, as everywhere; $8: the step in microseconds). Buckets are
-- counted from 1970, so that every question puts their bounds at the same times. $9 and $10 are the place of the last
-- page's last bucket.
WITH /* chosen */, known AS (
    SELECT s.gpu_id, s.bucket/* columns */
    FROM chosen s
    GROUP BY s.gpu_id, s.bucket
)/* others */
SELECT known.gpu_id, known.bucket, /* ext *//* names */
FROM known/* join */
ORDER BY known.bucket /* direction */, known.gpu_id /* direction */
LIMIT $6
