-- The run that did the work behind a result, and so holds its files: others only took it over.
SELECT run_id
FROM stage_results
WHERE stage = $stage AND unit = $unit AND fingerprint = $fingerprint AND reused_from IS NULL
ORDER BY recorded_at DESC
LIMIT 1;
