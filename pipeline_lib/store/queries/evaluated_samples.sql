-- Length and verdict of every response of the base and of the last evaluated model of some runs. A run that took an evaluation
-- over from another one has its rollouts there: the files belong to the run that generated them.
WITH wanted AS (
    SELECT run_id, unit, fingerprint, regexp_extract(unit, '^step-(\d+)/', 1)::INTEGER AS step,
        regexp_extract(unit, '^step-\d+/(.*)$', 1) AS benchmark
    FROM stage_results
    WHERE stage = 'evaluate' AND unit LIKE 'step-%/%' AND list_contains($run_ids, run_id)
), ends AS (
    SELECT * FROM wanted QUALIFY step = 0 OR step = max(step) OVER (PARTITION BY run_id, benchmark)
), owned AS (
    SELECT ends.run_id, ends.step, ends.benchmark, owners.run_id AS owner
    FROM ends
    JOIN stage_results AS owners
        ON owners.stage = 'evaluate' AND owners.unit = ends.unit AND owners.fingerprint = ends.fingerprint
        AND owners.reused_from IS NULL
    QUALIFY row_number() OVER (
        PARTITION BY ends.run_id, ends.unit ORDER BY owners.run_id = ends.run_id DESC, owners.recorded_at DESC
    ) = 1
)
SELECT owned.run_id, owned.step, owned.benchmark, rollouts.rollout_id, rollouts.prompt_id, rollouts.sample_index,
    rollouts.num_tokens, rollouts.finish_reason, rollouts.correct
FROM owned
JOIN rollouts
    ON rollouts.run_id = owned.owner AND rollouts.stage = 'evaluate' AND rollouts.step = owned.step
    AND rollouts.source = owned.benchmark
ORDER BY list_position($run_ids, owned.run_id), owned.benchmark, owned.step, rollouts.prompt_id, rollouts.sample_index;
