-- The samples of one GPU ($1) from $2 on and before $3, in order: a walk along the index of the partitions that ends with
-- the page. $5: other metrics. Most questions are about one GPU, and this is planned in half of the time of the others. The
-- last column tells of values that are in none of the others.
SELECT s.gpu_id, s.ts, /* ext *//* columns */, /* more */
FROM samples s
WHERE s.gpu_id = $1::integer AND s.ts >= $2 AND s.ts < $3 /* days of s.ts */ AND /* reported */
ORDER BY s.ts /* direction */
LIMIT $4
