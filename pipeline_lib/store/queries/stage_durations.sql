-- How long each stage of a run took; a stage of several units is summed.
SELECT stage, sum(seconds) AS seconds, max(reused_from) AS reused_from
FROM stage_results
WHERE run_id = $run_id
GROUP BY stage
ORDER BY min(recorded_at);
