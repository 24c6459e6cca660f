-- The complete configuration of some runs.
SELECT run_id, config FROM runs WHERE list_contains($run_ids, run_id);
