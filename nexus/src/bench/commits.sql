-- When each sample was committed and published, in microseconds since 1970. Every sample of the run was inserted once, by
-- one transaction; batches and samples of one transaction share its id.
SELECT h.name AS host, g.gpu_index AS gpu, (extract(epoch FROM s.ts) * 1000000)::bigint AS ts,
       (extract(epoch FROM pg_xact_commit_timestamp(s.xmin)) * 1000000)::bigint AS committed
FROM samples s
JOIN gpus g ON g.id = s.gpu_id
JOIN hosts h ON h.id = g.host_id
