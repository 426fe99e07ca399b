-- All buckets of the part, where they are no more than a page holds.
shown AS (
    SELECT *
    FROM (
        SELECT * FROM units
        UNION ALL
        -- OFFSET 0: a walk over the index for each gap, whatever the planner guesses about all of them together. The
        -- part's bounds are said again, so that days outside of them are left out before anything is planned for them.
        SELECT s.*
        FROM gaps
        CROSS JOIN LATERAL (
            SELECT s.gpu_id, s.ts,
                   date_bin($8::bigint * interval '1 microsecond', s.ts, 'epoch'::timestamptz) AS bucket,
                   false/* sample parts */
            FROM samples s
            WHERE s.gpu_id = gaps.gpu_id AND s.ts >= gaps.low AND s.ts < gaps.high AND s.ts >= $2 AND s.ts < $3
              AND s.ts >= $4 AND s.ts < $5 /* days of s.ts */ AND /* reported */
            OFFSET 0
        ) AS s
    ) AS pieces
    WHERE $9::timestamptz IS NULL OR (bucket, gpu_id) /* behind */ ($9, $10::integer)
)
