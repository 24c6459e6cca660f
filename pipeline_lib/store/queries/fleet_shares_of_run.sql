-- How much of each of the newest steps every actor of a run's fleet was at work, in order of time.
SELECT * FROM fleet_shares
WHERE run_id = $run_id
QUALIFY dense_rank() OVER (ORDER BY step_began_at DESC) <= $num_steps
ORDER BY step_began_at, actor;
