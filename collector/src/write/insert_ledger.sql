INSERT INTO ledger (
    day, cluster_id, lane, run, n, published_at, rows_before, row_count, stored, dead, expired,
    file, pass, first_line, last_line, first_byte, end_byte, shift_us, collector
)
SELECT
    (to_timestamp(b.published_ms / 1000.0) AT TIME ZONE 'UTC')::date, $1, b.lane, b.run, b.n,
    to_timestamp(b.published_ms / 1000.0), b.rows_before, b.stored + b.dead + b.expired, b.stored, b.dead, b.expired,
    b.file, b.pass, b.first_line, b.last_line, b.first_byte, b.end_byte, b.shift_us, $2
FROM unnest(
    $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::integer[], $9::integer[], $10::integer[],
    $11::text[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[]
) WITH ORDINALITY AS b (
    published_ms, lane, run, n, rows_before, stored, dead, expired,
    file, pass, first_line, last_line, first_byte, end_byte, shift_us, place
)
-- A batch whose day retention has dropped is known, too.
WHERE NOT EXISTS (
    SELECT FROM ledger_dropped d
    WHERE d.cluster_id = $1 AND d.lane = b.lane AND d.run = b.run AND b.n BETWEEN d.first_n AND d.last_n
)
ORDER BY place
ON CONFLICT DO NOTHING
RETURNING lane, run, n
