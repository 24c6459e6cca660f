-- The run of a name that started last.
SELECT *
FROM runs
WHERE name = $name
ORDER BY started_at DESC NULLS LAST, run_id
LIMIT 1;
