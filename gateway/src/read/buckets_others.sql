-- What else was asked for, beside the metrics that have a column.
others AS (
    SELECT gpu_id, bucket, jsonb_object_agg(name, value) AS ext
    FROM (
        SELECT s.gpu_id, s.bucket, e.key AS name, /* other */ AS value
        FROM chosen s
        CROSS JOIN LATERAL jsonb_each(s.ext) AS e (key, value)
        WHERE jsonb_typeof(e.value) = 'number' AND ($7::text[] IS NULL OR e.key = ANY ($7))
        GROUP BY s.gpu_id, s.bucket, e.key
    ) AS summed
    GROUP BY gpu_id, bucket
)
