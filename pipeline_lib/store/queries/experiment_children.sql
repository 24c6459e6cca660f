-- The child runs of an experiment, arm by arm.
SELECT arm, seed, run_id, finding, label, position, settings, status, seconds
FROM experiments
WHERE experiment = $experiment
ORDER BY position, seed;
