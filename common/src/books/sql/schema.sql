-- The newest migration that was applied.
SELECT max(version)::integer FROM refinery_schema_history
