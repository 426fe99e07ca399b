-- A page of buckets: which are on it is found by times alone, and only their pieces are read.
page AS MATERIALIZED (
    SELECT gpu_id, bucket
    FROM (
        SELECT gpu_id, bucket FROM units
        UNION ALL
        -- OFFSET 0: a walk over the index for each gap, whatever the planner guesses about all of them together. The
        -- page's bounds are said again, so that days outside of them are left out before anything is planned for them.
        SELECT gaps.gpu_id, s.bucket
        FROM gaps
        CROSS JOIN LATERAL (
            SELECT date_bin($8::bigint * interval '1 microsecond', s.ts, 'epoch'::timestamptz) AS bucket
            FROM samples s
            WHERE s.gpu_id = gaps.gpu_id AND s.ts >= gaps.low AND s.ts < gaps.high AND s.ts >= $4 AND s.ts < $5 /* days of s.ts */
              AND /* reported */
            OFFSET 0
        ) AS s
    ) AS found
    WHERE $9::timestamptz IS NULL OR (bucket, gpu_id) /* behind */ ($9, $10::integer)
    GROUP BY gpu_id, bucket
    ORDER BY bucket /* direction */, gpu_id /* direction */
    LIMIT $6
), span AS (
    SELECT gpu_id, GREATEST(min(bucket), $2) AS low,
           LEAST(max(bucket) + $8::bigint * interval '1 microsecond', $3) AS high
    FROM page
    GROUP BY gpu_id
), pieces AS (
    SELECT * FROM units
    UNION ALL
    SELECT s.*
    FROM span
    JOIN gaps USING (gpu_id)
    CROSS JOIN LATERAL (
        SELECT s.gpu_id, s.ts,
               date_bin($8::bigint * interval '1 microsecond', s.ts, 'epoch'::timestamptz) AS bucket,
               false/* sample parts */
        FROM samples s
        WHERE s.gpu_id = gaps.gpu_id AND s.ts >= GREATEST(gaps.low, span.low) AND s.ts < LEAST(gaps.high, span.high)
          AND s.ts >= $4 AND s.ts < $5 /* days of s.ts */ AND /* reported */
        OFFSET 0
    ) AS s
), shown AS MATERIALIZED (
    -- The page is a stretch of all buckets in their order: on it is what lies between its first and its last. A join with
    -- it would compare every piece with every bucket, because the planner takes both for a row or two.
    SELECT *
    FROM pieces
    WHERE (bucket, gpu_id) >= (SELECT bucket, gpu_id FROM page ORDER BY bucket, gpu_id LIMIT 1)
      AND (bucket, gpu_id) <= (SELECT bucket, gpu_id FROM page ORDER BY bucket DESC, gpu_id DESC LIMIT 1)
)
