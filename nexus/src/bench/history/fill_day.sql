-- One day of every GPU that is registered, a reading every :interval seconds, ten values each, in the order in which scrapes
-- would have brought them: time by time. Values go up and down over the day and differ from GPU to GPU.
INSERT INTO samples (gpu_id, ts, gpu_utilization, memory_utilization, memory_used_mib, memory_free_mib, temperature_celsius,
    memory_temperature_celsius, power_watts, energy_millijoules, sm_clock_mhz, memory_clock_mhz)
SELECT g.id, at.ts, at.busy * 100, at.busy * 60, 1000 + at.busy * 70000, 80007 - at.busy * 70000, 35 + at.busy * 40 + g.id % 5,
    40 + at.busy * 45, 70 + at.busy * 600 + g.id % 10, extract(epoch FROM at.ts) * 300, 345 + round(at.busy * 1600), 2619
FROM (
    SELECT ts, 0.5 + 0.5 * sin(extract(epoch FROM ts)::float8 / 7000) AS busy
    FROM generate_series(':from'::timestamptz, ':to'::timestamptz - interval '1 microsecond', ':interval seconds') AS ts
) AS at
CROSS JOIN gpus g
ON CONFLICT DO NOTHING
