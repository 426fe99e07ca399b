-- Returns that were published to their end: how many rows each lane of theirs was to hold.
SELECT kind || '-' || id AS lane, row_count
FROM returns
WHERE cluster_id = $1 AND finished_at IS NOT NULL
