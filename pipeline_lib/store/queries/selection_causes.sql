-- Prompts of a run by whether they were selected, and why.
SELECT selected, cause, subset, count(*) AS prompts
FROM selections
WHERE run_id = $run_id
GROUP BY ALL
ORDER BY ALL;
