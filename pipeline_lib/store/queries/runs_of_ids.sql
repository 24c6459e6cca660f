-- Some runs, in the order of the ids.
SELECT * FROM runs WHERE list_contains($run_ids, run_id) ORDER BY list_position($run_ids, run_id);
