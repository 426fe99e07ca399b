-- Hosts of cluster $1 by these names, where they are missing: looked for first, because a blind INSERT burns numbers.
INSERT INTO hosts (cluster_id, name)
SELECT $1, new.name FROM unnest($2::text[]) AS new (name)
WHERE NOT EXISTS (SELECT FROM hosts WHERE hosts.cluster_id = $1 AND hosts.name = new.name)
ORDER BY new.name
ON CONFLICT DO NOTHING
