-- PostgreSQL's log, and how it is archived. Whoever may log in may ask all of it.
SELECT
    CASE WHEN NOT pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint END,
    current_setting('archive_mode') <> 'off',
    last_archived_time,
    last_failed_time,
    last_failed_wal,
    failed_count,
    -- Where nothing was archived: since it could have been.
    greatest(0, floor(extract(epoch FROM clock_timestamp()
        - COALESCE(last_archived_time, greatest(stats_reset, pg_postmaster_start_time())))))::bigint,
    -- A segment's name: timeline, and its place in two parts. Histories of timelines and labels of backups are archived too,
    -- and say nothing of how far the log was.
    CASE WHEN NOT pg_is_in_recovery() AND last_archived_wal ~ '^[0-9A-F]{24}(\.partial)?$' THEN greatest(0, pg_wal_lsn_diff(
        pg_current_wal_lsn(), format('%s/%s', substr(last_archived_wal, 9, 8),
            to_hex(('x' || substr(last_archived_wal, 17, 8))::bit(32)::bigint * segment))::pg_lsn) - segment)::bigint END,
    segment
FROM pg_stat_archiver, pg_size_bytes(current_setting('wal_segment_size')) AS segment
