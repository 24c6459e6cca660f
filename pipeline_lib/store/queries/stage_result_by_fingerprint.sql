-- The result for the same inputs: of this run if there is one, else the newest of any run.
SELECT run_id, stage, unit, fingerprint, seconds, reused_from, summary, recorded_at
FROM stage_results
WHERE stage = $stage AND unit = $unit AND fingerprint = $fingerprint
ORDER BY run_id = $run_id DESC, recorded_at DESC
LIMIT 1;
