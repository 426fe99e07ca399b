-- What retention leaves of the ledger days that it drops: sums for each lane (ledger_totals), and which rows and batches of
-- which run they were, so that the audit tells the same as before and a late redelivery is recognised for ever.

CREATE TABLE ledger_dropped (
    cluster_id  integer NOT NULL,
    lane        text NOT NULL,
    run         text NOT NULL,
    first_n     bigint NOT NULL,
    last_n      bigint NOT NULL,
    first_row   bigint NOT NULL,
    end_row     bigint NOT NULL,
    since       timestamptz NOT NULL,
    file        text NOT NULL,
    PRIMARY KEY (cluster_id, lane, run, first_n),
    CHECK (last_n >= first_n AND end_row >= first_row)
);
COMMENT ON TABLE ledger_dropped IS 'Batches of a run that follow each other without a gap and whose ledger rows retention has dropped';
COMMENT ON COLUMN ledger_dropped.first_row IS 'rows_before of the first of them; end_row is behind the last row of the last one';
COMMENT ON COLUMN ledger_dropped.since IS 'When the first of them was published';

ALTER TABLE ledger_totals ADD COLUMN republished bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN ledger_totals.republished IS 'Of expired: rows that were published again';
