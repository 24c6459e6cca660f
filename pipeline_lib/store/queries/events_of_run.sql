-- The events of a run, in their order.
SELECT * FROM run_events WHERE run_id = $run_id ORDER BY happened_at;
