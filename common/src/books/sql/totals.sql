-- The sums of what retention has dropped from the ledger.
SELECT lane, batches, stored, dead, expired, republished
FROM ledger_totals
WHERE cluster_id = $1
