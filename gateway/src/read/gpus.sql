-- GPUs with their newest values. Numbers among the indices sort as numbers, because longer ones come later.
SELECT g.id, c.name AS cluster_id, h.name AS host_id, g.gpu_index AS gpu_id, g.uuid, g.model, g.device, g.labels,
       s.ts, s.ext/* columns */
FROM gpus g
JOIN hosts h ON h.id = g.host_id
JOIN clusters c ON c.id = h.cluster_id
/* join */ JOIN gpu_latest s ON s.gpu_id = g.id
WHERE ($1::text IS NULL OR c.name = $1)
  AND ($2::text IS NULL OR h.name = $2)
  AND ($3::text IS NULL OR g.gpu_index = $3 OR g.uuid = $3)
  AND ($5::text IS NULL
       OR (c.name COLLATE "C", h.name COLLATE "C", length(g.gpu_index), g.gpu_index COLLATE "C", g.id)
        > ($5 COLLATE "C", $6::text COLLATE "C", length($8::text), $8 COLLATE "C", $9::integer))
  AND /* reported */
ORDER BY c.name COLLATE "C", h.name COLLATE "C", length(g.gpu_index), g.gpu_index COLLATE "C", g.id
LIMIT $4
