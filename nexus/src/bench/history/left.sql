-- What is still to be rolled up.
SELECT (SELECT count(*) FROM rollup_notes) + (SELECT count(*) FROM rollup_todo WHERE refused IS NULL)
