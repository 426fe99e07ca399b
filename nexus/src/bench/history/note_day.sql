-- The hours of one day of every GPU, put down to be rolled up, as storing them would have done.
INSERT INTO rollup_notes (gpu_ids, hours)
SELECT array_agg(g.id), array_agg(hour)
FROM gpus g
CROSS JOIN generate_series(':from'::timestamptz, ':to'::timestamptz - interval '1 hour', interval '1 hour') AS hour
