, readings AS (
    SELECT p.gpu_id, m.*
    FROM span
    JOIN pieces p ON p.gpu_id = span.gpu_id AND p.at >= span.low AND p.at < span.high
    CROSS JOIN LATERAL (VALUES /* values */) AS m (metric, first, first_at, last, last_at, growth)
    WHERE m.first IS NOT NULL
    UNION ALL
    SELECT span.gpu_id, base.metric, base.value, base.ts, base.value, base.ts, 0
    FROM span
    CROSS JOIN LATERAL (/* bases */) AS base (metric, ts, value)
), growth AS (
    SELECT gpu_id, metric, date_bin($8::bigint * interval '1 microsecond', first_at, 'epoch'::timestamptz) AS bucket,
           lag(last_at) OVER counter AS since, lag(last) OVER counter AS before, first, first_at, last_at, growth
    FROM readings
    WINDOW counter AS (PARTITION BY gpu_id, metric ORDER BY first_at)
), rates AS (
    -- What a reading grew by within itself, and since the one before it where that is not too long ago.
    SELECT gpu_id, bucket, metric,
           sum(growth + CASE WHEN NOT follows THEN 0 WHEN first >= before THEN first - before ELSE first END)
               / NULLIF(sum(extract(epoch FROM last_at - CASE WHEN follows THEN since ELSE first_at END)::double precision), 0)
               AS rate
    FROM growth
    CROSS JOIN LATERAL (
        SELECT COALESCE(since >= GREATEST(bucket, $2) - $7::bigint * interval '1 microsecond', false) AS follows
    ) AS reach
    GROUP BY gpu_id, bucket, metric
)
SELECT page.gpu_id, page.bucket/* rates */
FROM page
LEFT JOIN rates USING (gpu_id, bucket)
GROUP BY page.gpu_id, page.bucket
ORDER BY page.bucket /* direction */, page.gpu_id /* direction */
