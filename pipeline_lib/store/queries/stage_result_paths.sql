-- The results of stages that name a file.
SELECT run_id, stage, unit, fingerprint, summary FROM stage_results WHERE summary->>'path' IS NOT NULL ORDER BY run_id, stage, unit;
