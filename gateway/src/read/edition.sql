-- The edition of these GPUs' hours, from $2 on and before $3: of each hour that is rolled up the transaction that did it (xmin).
-- Who stores samples notes their hours in the same transaction; from the note an hour gets onto the list, and off it with a
-- rollup that was written anew; samples that retention drops take their rollups along. So while nothing is noted or listed,
-- the same rollups stand for the same samples. Another server, or one whose files were put back, was started at another
-- time.
SELECT pg_postmaster_start_time(), ARRAY (
    SELECT h.xmin
    FROM rollup_hours h
    WHERE h.gpu_id = ANY ($1::integer[]) AND h.start >= $2 AND h.start < $3 /* days of h.start */
    ORDER BY h.gpu_id, h.start
)
WHERE NOT EXISTS (
    SELECT FROM rollup_todo
    WHERE gpu_id = ANY ($1::integer[]) AND hour >= $2 AND hour < $3
) AND NOT EXISTS (
    SELECT FROM rollup_notes
    CROSS JOIN LATERAL unnest(gpu_ids, hours) AS note (gpu_id, hour)
    -- As in rolled.sql only those are taken apart that can be about these hours.
    WHERE $3 > ANY (hours) AND $2 <= ANY (hours) AND gpu_ids && $1::integer[]
      AND note.gpu_id = ANY ($1::integer[]) AND note.hour >= $2 AND note.hour < $3
)
