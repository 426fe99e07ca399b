-- What retention has dropped from the ledger.
SELECT lane, batches, row_count, stored, dead, expired
FROM ledger_totals
WHERE cluster_id = $1
