-- Whether an operator's republish that is not finished reads batches of this day.
SELECT EXISTS (
    SELECT FROM expired_returns e
    JOIN returns r ON r.id = e.return_id AND r.finished_at IS NULL
    JOIN ledger l ON l.cluster_id = e.cluster_id AND l.lane = e.lane AND l.run = e.run AND l.n = e.n
    WHERE l.day = ($1::timestamptz AT TIME ZONE 'UTC')::date
)
