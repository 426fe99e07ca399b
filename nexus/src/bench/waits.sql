-- What the collectors' connections are doing at this moment, and how many of them: a sample of a profile.
SELECT CASE WHEN state = 'active' THEN COALESCE(wait_event_type || ' ' || wait_event, 'running') ELSE 'asked for nothing' END,
    count(*)
FROM pg_stat_activity
WHERE application_name = 'nexus-collector' AND state IN ('active', 'idle in transaction')
GROUP BY 1
