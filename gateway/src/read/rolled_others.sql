-- What else was asked for, beside the metrics that have a column.
others AS (
    SELECT gpu_id, bucket, jsonb_object_agg(name, value) AS ext
    FROM (
        SELECT p.gpu_id, p.bucket, p.name, /* other */ AS value
        FROM (
            SELECT p.gpu_id, p.bucket, e.key AS name,
                   CASE WHEN p.rolled THEN (e.value ->> '/* part */')::double precision
                        ELSE (e.value)::double precision END AS value,
                   CASE WHEN p.rolled THEN (e.value ->> 'count')::integer ELSE 1 END AS value_count
            FROM shown p
            CROSS JOIN LATERAL jsonb_each(p.ext) AS e (key, value)
            WHERE (p.rolled OR jsonb_typeof(e.value) = 'number') AND ($7::text[] IS NULL OR e.key = ANY ($7))
            ORDER BY p.gpu_id, p.bucket, e.key, p.at DESC
        ) AS p
        GROUP BY p.gpu_id, p.bucket, p.name
    ) AS summed
    GROUP BY gpu_id, bucket
)
