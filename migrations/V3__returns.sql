-- What an operator sent through the queue again, and what he let go: noted here first, so that doing it twice changes
-- nothing, and so that the books stay balanced.

ALTER TABLE ledger ADD COLUMN shift_us bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN ledger.shift_us IS 'What LOOP_MODE added to the time stamps of the batch, in microseconds; 0 when rows kept their own';

CREATE TABLE returns (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cluster_id  integer NOT NULL REFERENCES clusters (id),
    kind        text NOT NULL CHECK (kind IN ('redrive', 'republish')),
    row_count   bigint NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
COMMENT ON TABLE returns IS 'Rows sent through the queue again. A return has a lane of its own, {kind}-{id}, whose cursor says how far it got';
COMMENT ON COLUMN returns.finished_at IS 'When the last row was published; until then the same command goes on where it stopped';

ALTER TABLE dead_letters
    ADD COLUMN lane text GENERATED ALWAYS AS (regexp_replace(batch, '^[0-9]+_(.*)\.[^.]*\.[0-9]+$', '\1')) STORED,
    ADD COLUMN return_id bigint REFERENCES returns (id),
    ADD COLUMN purged_at timestamptz;
COMMENT ON COLUMN dead_letters.return_id IS 'The return that sent these rows through the queue again';
COMMENT ON COLUMN dead_letters.purged_at IS 'When the payload was given up; the letter still counts, with its place and reason';
CREATE INDEX dead_letters_of_lane ON dead_letters (cluster_id, lane);
CREATE INDEX dead_letters_of_return ON dead_letters (return_id, id) WHERE return_id IS NOT NULL;

CREATE TABLE expired_returns (
    cluster_id  integer NOT NULL,
    lane        text NOT NULL,
    run         text NOT NULL,
    n           bigint NOT NULL,
    return_id   bigint NOT NULL REFERENCES returns (id),
    PRIMARY KEY (cluster_id, lane, run, n)
);
CREATE INDEX expired_returns_of_return ON expired_returns (return_id);
COMMENT ON TABLE expired_returns IS 'Batches with expired rows that were read from their source and published again';

-- The batches of a lane in the order of its rows: between which of them something is missing.
CREATE INDEX ledger_of_lane ON ledger (cluster_id, lane, rows_before);
