-- The memory of Nexus: who the GPUs are, what they reported, and which batch brought it.
-- Metric columns follow the catalogue (common/src/domain/metric.rs), in its order; a test compares the two.

CREATE TABLE metrics (
    name        text PRIMARY KEY,
    dcgm        text NOT NULL,
    unit        text NOT NULL,
    kind        text NOT NULL,
    help        text NOT NULL
);
COMMENT ON TABLE metrics IS 'The metric catalogue, written by whoever migrates; for people and dashboards';

-- Registry: small integer ids, so that a sample carries 4 bytes of identity.

CREATE TABLE clusters (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL UNIQUE,
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE hosts (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cluster_id  integer NOT NULL REFERENCES clusters (id),
    name        text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (cluster_id, name)
);

CREATE TABLE gpus (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    host_id     integer NOT NULL REFERENCES hosts (id),
    cluster_id  integer NOT NULL REFERENCES clusters (id),
    gpu_index   text NOT NULL,
    uuid        text,
    mig         text,
    model       text,
    device      text,
    labels      jsonb NOT NULL DEFAULT '{}',
    seen_at     timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN gpus.host_id IS 'Where the GPU is now; its identity is uuid and mig, or host and index without a uuid';
COMMENT ON COLUMN gpus.seen_at IS 'The time of the row that model, device, labels and place were taken from; never goes back';
CREATE UNIQUE INDEX gpus_by_uuid ON gpus (cluster_id, uuid, COALESCE(mig, '')) WHERE uuid IS NOT NULL;
CREATE UNIQUE INDEX gpus_by_place ON gpus (host_id, gpu_index) WHERE uuid IS NULL;
CREATE INDEX gpus_of_host ON gpus (host_id, gpu_index);

-- Samples: one row per GPU and time. Days are made on demand; there is no default partition.

CREATE TABLE samples (
    gpu_id      integer NOT NULL,
    ts          timestamptz NOT NULL,
    conflicts   integer NOT NULL DEFAULT 0,
    gpu_utilization                double precision,
    memory_utilization             double precision,
    encoder_utilization            double precision,
    decoder_utilization            double precision,
    memory_used_mib                double precision,
    memory_free_mib                double precision,
    memory_reserved_mib            double precision,
    memory_total_mib               double precision,
    temperature_celsius            double precision,
    memory_temperature_celsius     double precision,
    power_watts                    double precision,
    power_limit_watts              double precision,
    energy_millijoules             double precision,
    sm_clock_mhz                   double precision,
    memory_clock_mhz               double precision,
    fan_speed                      double precision,
    performance_state              double precision,
    clock_event_reasons            double precision,
    xid                            double precision,
    pcie_replays                   double precision,
    pcie_tx_bytes_per_second       double precision,
    pcie_rx_bytes_per_second       double precision,
    nvlink_bandwidth_total         double precision,
    vgpu_license_status            double precision,
    remapped_rows_uncorrectable    double precision,
    remapped_rows_correctable      double precision,
    row_remap_failure              double precision,
    row_remap_pending              double precision,
    ecc_sbe_volatile               double precision,
    ecc_dbe_volatile               double precision,
    ecc_sbe_aggregate              double precision,
    ecc_dbe_aggregate              double precision,
    gr_engine_active               double precision,
    sm_active                      double precision,
    sm_occupancy                   double precision,
    tensor_active                  double precision,
    dram_active                    double precision,
    ext         jsonb,
    PRIMARY KEY (gpu_id, ts)
) PARTITION BY RANGE (ts);
CREATE INDEX samples_by_time ON samples USING brin (ts);
COMMENT ON COLUMN samples.conflicts IS 'Values that arrived for a metric that had another value already; the later one stands';
COMMENT ON COLUMN samples.ext IS 'Metrics outside the catalogue, name to number';

-- The newest value of every metric of a GPU, each with its own time. Times never go back.

CREATE TABLE gpu_latest (
    gpu_id      integer PRIMARY KEY REFERENCES gpus (id),
    ts          timestamptz NOT NULL,
    gpu_utilization                double precision, gpu_utilization_at             timestamptz,
    memory_utilization             double precision, memory_utilization_at          timestamptz,
    encoder_utilization            double precision, encoder_utilization_at         timestamptz,
    decoder_utilization            double precision, decoder_utilization_at         timestamptz,
    memory_used_mib                double precision, memory_used_mib_at             timestamptz,
    memory_free_mib                double precision, memory_free_mib_at             timestamptz,
    memory_reserved_mib            double precision, memory_reserved_mib_at         timestamptz,
    memory_total_mib               double precision, memory_total_mib_at            timestamptz,
    temperature_celsius            double precision, temperature_celsius_at         timestamptz,
    memory_temperature_celsius     double precision, memory_temperature_celsius_at  timestamptz,
    power_watts                    double precision, power_watts_at                 timestamptz,
    power_limit_watts              double precision, power_limit_watts_at           timestamptz,
    energy_millijoules             double precision, energy_millijoules_at          timestamptz,
    sm_clock_mhz                   double precision, sm_clock_mhz_at                timestamptz,
    memory_clock_mhz               double precision, memory_clock_mhz_at            timestamptz,
    fan_speed                      double precision, fan_speed_at                   timestamptz,
    performance_state              double precision, performance_state_at           timestamptz,
    clock_event_reasons            double precision, clock_event_reasons_at         timestamptz,
    xid                            double precision, xid_at                         timestamptz,
    pcie_replays                   double precision, pcie_replays_at                timestamptz,
    pcie_tx_bytes_per_second       double precision, pcie_tx_bytes_per_second_at    timestamptz,
    pcie_rx_bytes_per_second       double precision, pcie_rx_bytes_per_second_at    timestamptz,
    nvlink_bandwidth_total         double precision, nvlink_bandwidth_total_at      timestamptz,
    vgpu_license_status            double precision, vgpu_license_status_at         timestamptz,
    remapped_rows_uncorrectable    double precision, remapped_rows_uncorrectable_at timestamptz,
    remapped_rows_correctable      double precision, remapped_rows_correctable_at   timestamptz,
    row_remap_failure              double precision, row_remap_failure_at           timestamptz,
    row_remap_pending              double precision, row_remap_pending_at           timestamptz,
    ecc_sbe_volatile               double precision, ecc_sbe_volatile_at            timestamptz,
    ecc_dbe_volatile               double precision, ecc_dbe_volatile_at            timestamptz,
    ecc_sbe_aggregate              double precision, ecc_sbe_aggregate_at           timestamptz,
    ecc_dbe_aggregate              double precision, ecc_dbe_aggregate_at           timestamptz,
    gr_engine_active               double precision, gr_engine_active_at            timestamptz,
    sm_active                      double precision, sm_active_at                   timestamptz,
    sm_occupancy                   double precision, sm_occupancy_at                timestamptz,
    tensor_active                  double precision, tensor_active_at               timestamptz,
    dram_active                    double precision, dram_active_at                 timestamptz,
    ext         jsonb NOT NULL DEFAULT '{}'
) WITH (fillfactor = 50);
COMMENT ON COLUMN gpu_latest.ts IS 'The newest time of all metrics';
COMMENT ON COLUMN gpu_latest.ext IS 'Metrics outside the catalogue: name to {"at": epoch microseconds, "value": number}';

CREATE FUNCTION merge_latest(a jsonb, b jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT COALESCE(jsonb_object_agg(key, value), '{}') FROM (
        SELECT DISTINCT ON (key) key, value
        FROM (SELECT 1 AS side, * FROM jsonb_each(a) UNION ALL SELECT 2, * FROM jsonb_each(b)) AS both_sides
        ORDER BY key, (value->>'at')::bigint DESC, side DESC
    ) AS newest
$$;
COMMENT ON FUNCTION merge_latest IS 'Two ext documents of gpu_latest, the newer value of each metric';

-- Ledger: one row per batch that reached this database. Its key is what makes a redelivery a no-op.

CREATE TABLE ledger (
    day             date NOT NULL,
    cluster_id      integer NOT NULL,
    lane            text NOT NULL,
    run             text NOT NULL,
    n               bigint NOT NULL,
    published_at    timestamptz NOT NULL,
    rows_before     bigint NOT NULL,
    row_count       integer NOT NULL,
    stored          integer NOT NULL,
    dead            integer NOT NULL,
    expired         integer NOT NULL,
    file            text NOT NULL,
    pass            bigint NOT NULL,
    first_line      bigint NOT NULL,
    last_line       bigint NOT NULL,
    first_byte      bigint NOT NULL,
    end_byte        bigint NOT NULL,
    collector       text NOT NULL,
    stored_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (day, cluster_id, lane, run, n),
    CHECK (row_count = stored + dead + expired)
) PARTITION BY RANGE (day);
CREATE INDEX ledger_expired ON ledger (cluster_id, stored_at) WHERE expired > 0;
COMMENT ON COLUMN ledger.day IS 'UTC day of the manifest key, so that a redelivery lands in the same partition';
COMMENT ON COLUMN ledger.rows_before IS 'Rows the lane had published before this batch, over all its runs';
COMMENT ON COLUMN ledger.end_byte IS 'Offset behind the last row of the batch in its source';

CREATE TABLE ledger_totals (
    cluster_id      integer NOT NULL,
    lane            text NOT NULL,
    batches         bigint NOT NULL,
    row_count       bigint NOT NULL,
    stored          bigint NOT NULL,
    dead            bigint NOT NULL,
    expired         bigint NOT NULL,
    PRIMARY KEY (cluster_id, lane)
);
COMMENT ON TABLE ledger_totals IS 'Sums of ledger partitions that retention has dropped';

-- Dead letters: every row that could not be stored, with why and where it came from.

CREATE TABLE dead_letters (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cluster_id      integer NOT NULL,
    batch           text NOT NULL,
    key             text NOT NULL,
    row_count       integer NOT NULL DEFAULT 1,
    file            text NOT NULL,
    pass            bigint NOT NULL,
    line            bigint,
    byte            bigint,
    reason          text NOT NULL,
    raw             bytea NOT NULL,
    raw_bytes       bigint NOT NULL,
    sha256          text,
    created_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX dead_letters_by_time ON dead_letters (cluster_id, created_at);
COMMENT ON COLUMN dead_letters.raw IS 'The row as it was read, cut at 64 KiB; or the queue message, where a whole message is dead';
COMMENT ON COLUMN dead_letters.row_count IS 'Rows this letter stands for: 1, or those of a message that could not be decoded';
