-- Which batches they were sums of: stretches of runs without a gap.
SELECT lane, run, first_n, last_n, first_row, end_row, file, (extract(epoch FROM since) * 1000)::bigint AS since_ms
FROM ledger_dropped
WHERE cluster_id = $1
ORDER BY lane, run, first_n
