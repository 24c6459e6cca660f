-- How many of a run's training rollouts were so many optimiser steps old when they were trained on.
SELECT policy_lag, count(*) AS num_rollouts FROM rollouts
WHERE run_id = $run_id AND stage = 'train' AND policy_lag IS NOT NULL
GROUP BY policy_lag
ORDER BY policy_lag;
