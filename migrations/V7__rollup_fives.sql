-- Five minutes at a time: between a minute, which only hours with many samples have, and an hour. A day in quarters reads
-- 288 of these rows, where it would read a minute's five times as often, or every sample of a GPU that reports now and then.

CREATE TABLE rollup_fives (LIKE rollup_minutes INCLUDING DEFAULTS INCLUDING CONSTRAINTS, PRIMARY KEY (gpu_id, start))
    PARTITION BY RANGE (start);
COMMENT ON TABLE rollup_fives IS 'What the samples of a GPU came to in five minutes; only of hours in which five minutes have several samples';

-- A collector of the version before does not name it: its hours have none, and their samples are read instead.
ALTER TABLE rollup_hours ADD COLUMN fives boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN rollup_hours.fives IS 'rollup_fives has the five minutes of this hour, too';

-- Hours that were rolled up before are rolled up once more, in the background, the newest first.
INSERT INTO rollup_todo (gpu_id, hour, since, touched)
SELECT gpu_id, start, now(), '-infinity' FROM rollup_hours WHERE samples >= 60
ON CONFLICT (gpu_id, hour) DO NOTHING;
