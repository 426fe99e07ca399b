SELECT count(*) AS samples FROM samples
