-- The minutes, or fives, of these hours. The bounds keep partitions out that have nothing to do with it.
DELETE FROM /* table */ r USING unnest($1::integer[], $2::timestamptz[]) AS x (gpu_id, hour)
WHERE r.gpu_id = x.gpu_id AND r.start >= x.hour AND r.start < x.hour + interval '1 hour'
    AND r.start >= (SELECT min(hour) FROM unnest($2) AS hour)
    AND r.start < (SELECT max(hour) FROM unnest($2) AS hour) + interval '1 hour'
