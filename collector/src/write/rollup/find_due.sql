-- Hours that are due ($2: how many at most), the newest first, because those are asked for most: nothing was stored of
-- them for a while ($1, in microseconds), or they have waited for an hour though something is stored again and again.
SELECT gpu_id, hour
FROM rollup_todo
WHERE refused IS NULL
  AND (touched <= now() - $1::bigint * interval '1 microsecond' OR since <= now() - interval '1 hour')
ORDER BY hour DESC, gpu_id
LIMIT $2
