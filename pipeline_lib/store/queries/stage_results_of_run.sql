-- The units of a stage of a run that are done.
SELECT unit, fingerprint, seconds, reused_from, summary, recorded_at
FROM stage_results
WHERE run_id = $run_id AND stage = $stage
ORDER BY unit;
