-- A line a run, the newest first. $run_id may be NULL: all runs.
SELECT
    runs.run_id,
    runs.name,
    runs.status,
    runs.base_model,
    runs.control_of,
    runs.started_at,
    runs.finished_at,
    epoch(coalesce(runs.finished_at, now()) - runs.started_at) AS seconds,
    (SELECT count(*) FROM difficulty WHERE run_id = runs.run_id) AS num_profiled_prompts,
    (SELECT count(*) FROM selections WHERE run_id = runs.run_id AND selected) AS num_selected_prompts,
    (SELECT max(step) FROM training_steps WHERE run_id = runs.run_id) AS last_step,
    (SELECT max(step) FROM checkpoints WHERE run_id = runs.run_id AND is_best) AS best_step,
    (SELECT count(*) FROM budget_results WHERE run_id = runs.run_id) AS num_budget_results,
    (SELECT count(*) FROM alarms WHERE run_id = runs.run_id) AS num_alarms,
    (SELECT list(stage ORDER BY recorded_at) FROM (
        SELECT stage, max(recorded_at) AS recorded_at FROM stage_results WHERE run_id = runs.run_id GROUP BY stage
    )) AS finished_stages,
    runs.error
FROM runs
WHERE $run_id::VARCHAR IS NULL OR runs.run_id = $run_id
ORDER BY runs.started_at DESC NULLS LAST, runs.run_id;
