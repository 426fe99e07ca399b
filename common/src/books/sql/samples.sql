-- The samples of these GPUs at these times (microseconds since 1970).
SELECT k.gpu_id, k.us, s.conflicts, to_jsonb(s) AS sample
FROM unnest($1::integer[], $2::bigint[]) AS k (gpu_id, us)
JOIN samples s ON s.gpu_id = k.gpu_id AND s.ts = 'epoch'::timestamptz + k.us * interval '1 microsecond'
