-- The runs of a name whose difficulty profile is done, the newest first.
SELECT run_id, config
FROM runs
WHERE name = $name AND control_of IS NULL AND run_id IN (SELECT run_id FROM stage_results WHERE stage = 'profile')
ORDER BY started_at DESC NULLS LAST, run_id;
