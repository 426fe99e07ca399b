-- What is the matter with GPUs: the signs that hold, by place, and the events that were told.

CREATE TABLE gpu_signs (
    host_id     integer NOT NULL REFERENCES hosts (id),
    gpu_index   text NOT NULL,
    kind        text NOT NULL,
    since       timestamptz NOT NULL,
    seen        timestamptz NOT NULL,
    value       double precision NOT NULL,
    announced   boolean NOT NULL,
    PRIMARY KEY (host_id, gpu_index, kind)
);
COMMENT ON TABLE gpu_signs IS 'Signs that hold, by place: also a place whose GPU never reported has one; kept by the collector that looks after conditions';
COMMENT ON COLUMN gpu_signs.since IS 'The first reading that showed it, by the data';
COMMENT ON COLUMN gpu_signs.seen IS 'The reading it was written with: not written again for a newer reading alone';
COMMENT ON COLUMN gpu_signs.announced IS 'An event told of it';

CREATE TABLE events (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cluster_id  integer NOT NULL REFERENCES clusters (id),
    host        text NOT NULL,
    gpu         text NOT NULL,
    uuid        text,
    at          timestamptz NOT NULL,
    noted_at    timestamptz NOT NULL DEFAULT now(),
    kind        text NOT NULL,
    condition   text,
    severity    text NOT NULL,
    since       timestamptz NOT NULL,
    code        bigint,
    detail      text NOT NULL
);
CREATE INDEX events_by_time ON events (at DESC, id DESC);
CREATE INDEX events_of_cluster ON events (cluster_id, at DESC, id DESC);
CREATE INDEX events_of_kind ON events (kind, at DESC, id DESC);
CREATE INDEX events_of_host ON events (host, gpu, at DESC, id DESC);
-- A GPU is asked for by its index or its UUID, whichever it is: both have an index, so that either is found.
CREATE INDEX events_of_gpu ON events (gpu, at DESC, id DESC);
CREATE INDEX events_of_uuid ON events (uuid, at DESC, id DESC);
COMMENT ON COLUMN events.at IS 'When it was so, by the data; noted_at is the clock''s';
COMMENT ON COLUMN events.host IS 'Names, not ids: what happened stays told when a GPU moves on';
