-- What the actors of a run's ray fleet did and what befell them, in their order.
SELECT * FROM fleet_events WHERE run_id = $run_id ORDER BY happened_at, actor;
