, known AS (
    SELECT p.gpu_id, p.bucket/* columns */
    -- Where a last value is asked for, the newest first, here and below: an aggregate takes its values in the order of a sorted
    -- subquery. Sorted for each metric by itself, as in buckets.sql, they took longer than all the rest. A sum does without:
    -- its last bits are those of the order that the pieces are found in, as in buckets.sql.
    FROM (
        SELECT p.* FROM shown p/* sorted */
    ) AS p
    GROUP BY p.gpu_id, p.bucket
)/* others */
SELECT known.gpu_id, known.bucket, /* ext *//* names */
FROM known/* join */
ORDER BY known.bucket /* direction */, known.gpu_id /* direction */
LIMIT $6
