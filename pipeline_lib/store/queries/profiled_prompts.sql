-- Prompts of a source that runs of a registered model have profiled, but for the run with this base and seed.
SELECT DISTINCT difficulty.prompt_id
FROM difficulty
JOIN runs USING (run_id)
WHERE coalesce(json_extract_string(runs.config, '$.tracking.registered_model'), runs.name) = $model_name
    AND json_extract_string(runs.config, '$.prompts.name') = $source
    AND NOT (
        json_extract_string(runs.config, '$.base_model') = $base_model
        AND json_extract_string(runs.config, '$.seed') = CAST($seed AS VARCHAR)
    )
ORDER BY difficulty.prompt_id;
