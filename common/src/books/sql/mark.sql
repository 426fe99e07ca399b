-- The last batch of a lane that ends at or before a row. Of two readings the later one.
SELECT rows_before + row_count AS end_row, first_line, last_line, first_byte, end_byte
FROM ledger
WHERE cluster_id = $1 AND lane = $2 AND rows_before + row_count <= $3 AND pass = 0
ORDER BY rows_before + row_count DESC, published_at DESC
LIMIT 1
