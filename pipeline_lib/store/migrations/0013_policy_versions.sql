-- The version of the weights that made a rollout, beside its lag: the view of older homes lacks the column.
DROP VIEW IF EXISTS rollouts;
