-- What operators did: written in the transaction that does it, or where an act spans more than one, in the one that begins it.

CREATE TABLE operator_actions (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cluster_id  integer NOT NULL REFERENCES clusters (id),
    at          timestamptz NOT NULL DEFAULT now(),
    actor       text NOT NULL,
    action      text NOT NULL,
    return_id   bigint REFERENCES returns (id),
    letters     bigint NOT NULL,
    row_count   bigint NOT NULL,
    asked       jsonb NOT NULL,
    request_id  text
);
COMMENT ON TABLE operator_actions IS 'Who redrove, republished, resumed or purged what, and when; kept for ever';
COMMENT ON COLUMN operator_actions.actor IS 'key:NAME of an API key, or user@host of the command line';
COMMENT ON COLUMN operator_actions.letters IS 'Dead letters it was about; of a republish, batches';
COMMENT ON COLUMN operator_actions.asked IS 'What was selected, in the words of the request';
COMMENT ON COLUMN operator_actions.request_id IS 'x-request-id of the request, where it came over HTTP';
CREATE INDEX operator_actions_of_cluster ON operator_actions (cluster_id, id);
