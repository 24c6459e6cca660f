-- The budget sweeps of some runs side by side, with what a right answer costs.
SELECT runs.name, runs.control_of, budget_results.*, tokens_per_correct, cost_per_1000_correct, currency
FROM budget_results
JOIN runs USING (run_id)
JOIN cost_per_correct USING (run_id, model, step, benchmark, budget_tokens)
WHERE list_contains($run_ids, run_id)
ORDER BY list_position($run_ids, run_id), benchmark, step, model, budget_tokens;
