-- How fast counters grew, per GPU and step ($8: the step in microseconds; $9 and $10: the place of the last page's last
-- bucket). As in buckets.sql the page's buckets are found by times alone; only their samples are read, and of each
-- counter the one value before them ($7: how far back it is looked for, in microseconds), so that what it grew by from
-- one bucket to the next is counted. A value below the one before means that the counter began anew, at 0.
WITH page AS (
    SELECT s.gpu_id, date_bin($8::bigint * interval '1 microsecond', s.ts, 'epoch'::timestamptz) AS bucket
    FROM samples s
    WHERE s.gpu_id = ANY ($1::integer[]) AND s.ts >= $2 AND s.ts < $3
      AND s.ts >= $4 AND s.ts < $5 /* days of s.ts */
      AND ($9::timestamptz IS NULL
           OR (date_bin($8::bigint * interval '1 microsecond', s.ts, 'epoch'::timestamptz), s.gpu_id)
              /* behind */ ($9, $10::integer))
      AND num_nonnulls(/* columns */) > 0
    GROUP BY s.gpu_id, bucket
    ORDER BY bucket /* direction */, s.gpu_id /* direction */
    LIMIT $6
), span AS (
    SELECT gpu_id, GREATEST(min(bucket), $2) AS low,
           LEAST(max(bucket) + $8::bigint * interval '1 microsecond', $3) AS high
    FROM page
    GROUP BY gpu_id
), readings AS (
    -- OFFSET 0: a walk over the index for each GPU, whatever the planner guesses about all of them together.
    SELECT s.gpu_id, m.metric, s.ts, m.value
    FROM span
    CROSS JOIN LATERAL (
        SELECT *
        FROM samples s
        WHERE s.gpu_id = span.gpu_id AND s.ts >= span.low AND s.ts < span.high AND s.ts >= $4 AND s.ts < $5 /* days of s.ts */
        OFFSET 0
    ) AS s
    CROSS JOIN LATERAL (VALUES /* values */) AS m (metric, value)
    WHERE m.value IS NOT NULL
    UNION ALL
    SELECT span.gpu_id, base.metric, base.ts, base.value
    FROM span
    CROSS JOIN LATERAL (/* bases */) AS base (metric, ts, value)
), growth AS (
    SELECT gpu_id, metric, date_bin($8::bigint * interval '1 microsecond', ts, 'epoch'::timestamptz) AS bucket,
           lag(ts) OVER counter AS since, ts, lag(value) OVER counter AS before, value
    FROM readings
    WINDOW counter AS (PARTITION BY gpu_id, metric ORDER BY ts)
), rates AS (
    SELECT gpu_id, bucket, metric,
           sum(CASE WHEN value >= before THEN value - before ELSE value END)
               / sum(extract(epoch FROM ts - since)::double precision) AS rate
    FROM growth
    WHERE since >= GREATEST(bucket, $2) - $7::bigint * interval '1 microsecond'
    GROUP BY gpu_id, bucket, metric
)
SELECT page.gpu_id, page.bucket/* rates */
FROM page
LEFT JOIN rates USING (gpu_id, bucket)
GROUP BY page.gpu_id, page.bucket
ORDER BY page.bucket /* direction */, page.gpu_id /* direction */
