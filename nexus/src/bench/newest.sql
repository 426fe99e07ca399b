-- When the newest batch was published, and when the newest was stored, in microseconds since 1970.
SELECT COALESCE((extract(epoch FROM max(published_at)) * 1000000)::bigint, 0),
    COALESCE((extract(epoch FROM max(stored_at)) * 1000000)::bigint, 0)
FROM ledger
