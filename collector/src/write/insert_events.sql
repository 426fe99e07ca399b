INSERT INTO events (cluster_id, host, gpu, uuid, at, kind, condition, severity, since, code, detail)
SELECT $1, e.host, e.gpu, e.uuid, e.at, e.kind, e.condition, e.severity, e.since, e.code, e.detail
FROM unnest(
    $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::text[], $8::text[], $9::timestamptz[],
    $10::bigint[], $11::text[]
) WITH ORDINALITY AS e (host, gpu, uuid, at, kind, condition, severity, since, code, detail, place)
ORDER BY e.place
RETURNING id
