-- GPUs of cluster $1 that are new in every respect: nothing is known of their place, nor of their UUID. The others are not
-- touched, and not in the answer. Sorted, so that two writers cannot wait for each other.
INSERT INTO gpus (cluster_id, host_id, gpu_index, uuid, mig, model, device, labels, seen_at)
SELECT $1, hosts.id, new.gpu_index, new.uuid, new.mig, new.model, new.device, new.labels,
    to_timestamp(new.seen_us / 1e6)
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::jsonb[], $9::float8[])
    AS new (host, gpu_index, uuid, mig, model, device, labels, seen_us)
JOIN hosts ON hosts.cluster_id = $1 AND hosts.name = new.host
WHERE NOT EXISTS (SELECT FROM gpus WHERE gpus.host_id = hosts.id AND gpus.gpu_index = new.gpu_index)
    AND NOT EXISTS (
        SELECT FROM gpus
        WHERE gpus.cluster_id = $1 AND gpus.uuid = new.uuid AND COALESCE(gpus.mig, '') = COALESCE(new.mig, '')
    )
ORDER BY hosts.id, new.gpu_index, new.uuid
ON CONFLICT DO NOTHING
RETURNING id, (SELECT name FROM hosts WHERE hosts.id = host_id), gpu_index
