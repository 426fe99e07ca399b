SELECT c.name AS cluster_id, h.name AS host_id, s.gpu_index AS gpu_id, s.kind, s.since, s.seen, s.value
FROM gpu_signs s
JOIN hosts h ON h.id = s.host_id
JOIN clusters c ON c.id = h.cluster_id
