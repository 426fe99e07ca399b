INSERT INTO dead_letters (
    cluster_id, batch, key, row_count, file, pass, line, byte, reason, raw, raw_bytes, sha256
)
SELECT $1, l.batch, l.key, l.row_count, l.file, l.pass, l.line, l.byte, l.reason, l.raw, l.raw_bytes, l.sha256
FROM unnest(
    $2::text[], $3::text[], $4::integer[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[], $9::text[],
    $10::bytea[], $11::bigint[], $12::text[]
) AS l (batch, key, row_count, file, pass, line, byte, reason, raw, raw_bytes, sha256)
