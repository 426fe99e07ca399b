-- All buckets of the part, where they are no more than a page holds.
chosen AS (
    SELECT s.*, date_bin($8::bigint * interval '1 microsecond', s.ts, 'epoch'::timestamptz) AS bucket
    FROM samples s
    WHERE s.gpu_id = ANY ($1::integer[]) AND s.ts >= $2 AND s.ts < $3
      AND s.ts >= $4 AND s.ts < $5 /* days of s.ts */
      AND ($9::timestamptz IS NULL
           OR (date_bin($8::bigint * interval '1 microsecond', s.ts, 'epoch'::timestamptz), s.gpu_id)
              /* behind */ ($9, $10::integer))
      AND /* reported */
)
