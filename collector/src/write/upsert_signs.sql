INSERT INTO gpu_signs (host_id, gpu_index, kind, since, seen, value, announced)
SELECT * FROM unnest(
    $1::integer[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::double precision[], $7::boolean[]
)
ON CONFLICT (host_id, gpu_index, kind) DO UPDATE
SET since = excluded.since, seen = excluded.seen, value = excluded.value, announced = excluded.announced
