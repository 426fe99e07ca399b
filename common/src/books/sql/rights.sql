-- Rights ($2, with commas between them) on tables ($1) that the user who asks lacks; a table that is not there lacks none.
SELECT t.name || ': ' || string_agg(right_wanted, ', ')
FROM unnest($1::text[], $2::text[]) AS t (name, rights),
    regexp_split_to_table(t.rights, ', ') AS right_wanted
WHERE to_regclass(t.name) IS NOT NULL AND NOT has_table_privilege(to_regclass(t.name), right_wanted)
GROUP BY t.name ORDER BY t.name
