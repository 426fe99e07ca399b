SELECT g.id, h.name, g.gpu_index, g.uuid, g.mig
FROM gpus g
JOIN hosts h ON h.id = g.host_id
JOIN clusters c ON c.id = g.cluster_id
WHERE c.name = $1
