-- The metrics of an experiment's child runs.
SELECT arm, seed, metric, value
FROM experiment_metrics
WHERE experiment = $experiment
ORDER BY arm, seed, metric;
