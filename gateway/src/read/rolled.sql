-- What a page ($4 to $5) can be read from. $11 and $12 bound its whole hours. An hour of a GPU is rolled up when it has a
-- rollup and nothing that was stored since is noted or listed: notes, list, rollups and samples are those of one snapshot.
-- Between rolled hours lie gaps, and there samples are read; a gap is long where nothing is rolled up or stored.
WITH listed AS MATERIALIZED (
    SELECT gpu_id, hour
    FROM rollup_todo
    WHERE gpu_id = ANY ($1::integer[]) AND hour >= $11 AND hour < $12
    UNION ALL
    SELECT note.gpu_id, note.hour
    FROM rollup_notes
    CROSS JOIN LATERAL unnest(gpu_ids, hours) AS note (gpu_id, hour)
    -- Few notes can be about these hours, and only those are taken apart: one has as many entries as a batch has GPUs.
    WHERE $12 > ANY (hours) AND $11 <= ANY (hours) AND gpu_ids && $1::integer[]
      AND note.gpu_id = ANY ($1::integer[]) AND note.hour >= $11 AND note.hour < $12
), rolled AS MATERIALIZED (
    SELECT h.gpu_id, h.start
    FROM rollup_hours h
    WHERE h.gpu_id = ANY ($1::integer[]) AND h.start >= $11 AND h.start < $12 /* days of h.start */ AND /* kept */
      AND NOT EXISTS (SELECT FROM listed WHERE listed.gpu_id = h.gpu_id AND listed.hour = h.start)
), gaps AS MATERIALIZED (
    SELECT gpu_id, low, high
    FROM (
        SELECT gpu_id, behind AS low, lead(start) OVER (PARTITION BY gpu_id ORDER BY behind) AS high
        FROM (
            SELECT id AS gpu_id, NULL::timestamptz AS start, $4::timestamptz AS behind FROM unnest($1::integer[]) AS id
            UNION ALL
            SELECT gpu_id, start, start + interval '1 hour' FROM rolled
            UNION ALL
            SELECT id, $5::timestamptz, NULL FROM unnest($1::integer[]) AS id
        ) AS stretches
    ) AS spaces
    WHERE low < high
), units AS (
    -- The step in a subquery: it is worked out once, and not for each row.
    SELECT u.gpu_id, u.start AS at,
           date_bin((SELECT $8::bigint * interval '1 microsecond'), u.start, 'epoch'::timestamptz) AS bucket,
           true AS rolled/* unit parts */
    FROM /* rollups */ u
    WHERE u.gpu_id = ANY ($1::integer[]) AND u.start >= $11 AND u.start < $12 /* days of u.start */ AND /* unit reported */
      AND NOT EXISTS (
          SELECT FROM listed
          WHERE listed.gpu_id = u.gpu_id AND listed.hour = date_bin('1 hour', u.start, 'epoch'::timestamptz)
      )
)
