), shown AS MATERIALIZED (
    -- The page is a stretch of all buckets in their order: on it is what lies between its first and its last. A join with
    -- it would compare every piece with every bucket, because the planner takes both for a row or two.
    SELECT *
    FROM pieces
    WHERE (bucket, gpu_id) >= (SELECT bucket, gpu_id FROM page ORDER BY bucket, gpu_id LIMIT 1)
      AND (bucket, gpu_id) <= (SELECT bucket, gpu_id FROM page ORDER BY bucket DESC, gpu_id DESC LIMIT 1)
), known AS (
    SELECT p.gpu_id, p.bucket/* columns */
    -- The newest first, here and below: an aggregate takes its values in the order of a sorted subquery. Sorted for each
    -- metric by itself, as in buckets.sql, they took longer than all the rest.
    FROM (
        SELECT p.* FROM shown p ORDER BY p.gpu_id, p.bucket, p.at DESC
    ) AS p
    GROUP BY p.gpu_id, p.bucket
), others AS (
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
SELECT known.gpu_id, known.bucket, others.ext/* names */
FROM known
LEFT JOIN others USING (gpu_id, bucket)
ORDER BY known.bucket /* direction */, known.gpu_id /* direction */
