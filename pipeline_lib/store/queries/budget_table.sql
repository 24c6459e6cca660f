-- The budget sweeps of some runs side by side.
SELECT runs.name, runs.control_of, budget_results.*
FROM budget_results
JOIN runs USING (run_id)
WHERE list_contains($run_ids, run_id)
ORDER BY list_position($run_ids, run_id), benchmark, step, model, budget_tokens;
