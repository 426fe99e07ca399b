-- The batches before and behind some holes of lanes: $2 lane, $3 and $4 the rows from which to which.
SELECT h.place, side.*
FROM unnest($2::text[], $3::bigint[], $4::bigint[]) WITH ORDINALITY AS h (lane, from_row, to_row, place)
CROSS JOIN LATERAL (
    (SELECT false AS behind, l.* FROM ledger l
     WHERE l.cluster_id = $1 AND l.lane = h.lane AND l.rows_before < h.from_row
     ORDER BY l.rows_before DESC, l.published_at DESC LIMIT 1)
    UNION ALL
    (SELECT true, l.* FROM ledger l
     WHERE l.cluster_id = $1 AND l.lane = h.lane AND l.rows_before >= h.to_row
     ORDER BY l.rows_before, l.published_at DESC LIMIT 1)
) AS side
