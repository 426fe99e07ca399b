-- Moves notes ($1: how many at most) onto the list. What is deleted is what was read, in one statement: a note of a
-- transaction that has not ended yet is seen by neither half, and stays. A person may note any moment of an hour.
WITH taken AS (
    DELETE FROM rollup_notes
    WHERE id IN (SELECT id FROM rollup_notes ORDER BY id LIMIT $1)
    RETURNING gpu_ids, hours, noted_at
), listed AS (
    INSERT INTO rollup_todo AS t (gpu_id, hour, since, touched)
    SELECT note.gpu_id, date_bin('1 hour', note.hour, 'epoch'::timestamptz), min(noted_at), max(noted_at)
    FROM taken
    CROSS JOIN LATERAL unnest(gpu_ids, hours) AS note (gpu_id, hour)
    GROUP BY 1, 2
    ON CONFLICT (gpu_id, hour) DO UPDATE SET touched = GREATEST(t.touched, excluded.touched), refused = NULL
)
SELECT count(*) FROM taken
