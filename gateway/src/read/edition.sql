-- The editions of several questions' hours. A question's GPUs are those of $1 from its place in $2 to that in $3, its hours those
-- from $4 on and before $5. An edition: of each hour that is rolled up the transaction that did it (xmin).
-- Who stores samples notes their hours in the same transaction; from the note an hour gets onto the list, and off it with a
-- rollup that was written anew; samples that retention drops take their rollups along. So while nothing is noted or listed,
-- the same rollups stand for the same samples. Another server, or one whose files were put back, was started at another
-- time. A question about hours of which something is noted or listed has no row.
SELECT pg_postmaster_start_time(), q.number, ARRAY (
    SELECT h.xmin
    FROM rollup_hours h
    WHERE h.gpu_id = ANY (q.gpu_ids) AND h.start >= q.first AND h.start < q.behind /* days of h.start */
    ORDER BY h.gpu_id, h.start
)
FROM (
    SELECT number, ($1::integer[])[low:high] AS gpu_ids, first, behind
    FROM unnest($2::integer[], $3::integer[], $4::timestamptz[], $5::timestamptz[]) WITH ORDINALITY
        AS asked (low, high, first, behind, number)
    OFFSET 0
) AS q
-- OFFSET 0: each question's GPUs are found once, and what is noted and listed is looked up for each question. PostgreSQL would
-- go through all that is listed for all of them, and take all notes apart.
WHERE NOT EXISTS (
    SELECT FROM rollup_todo
    WHERE gpu_id = ANY (q.gpu_ids) AND hour >= q.first AND hour < q.behind
    OFFSET 0
) AND NOT EXISTS (
    SELECT FROM rollup_notes
    CROSS JOIN LATERAL unnest(gpu_ids, hours) AS note (gpu_id, hour)
    -- As in rolled.sql only those are taken apart that can be about these hours.
    WHERE q.behind > ANY (hours) AND q.first <= ANY (hours) AND rollup_notes.gpu_ids && q.gpu_ids
      AND note.gpu_id = ANY (q.gpu_ids) AND note.hour >= q.first AND note.hour < q.behind
    OFFSET 0
)
