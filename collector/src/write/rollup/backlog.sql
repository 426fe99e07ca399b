-- How many hours of GPUs wait on the list, and for how many seconds the first has waited, there or as a note that is not
-- moved onto it yet. Notes are numbered in their order.
SELECT count(*),
    COALESCE(extract(epoch FROM now() - LEAST(min(since), (SELECT noted_at FROM rollup_notes ORDER BY id LIMIT 1))), 0)::double precision
FROM rollup_todo
WHERE refused IS NULL
