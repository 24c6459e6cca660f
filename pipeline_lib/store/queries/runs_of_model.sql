-- The runs that train a registered model, the newest first.
SELECT run_id, config
FROM runs
WHERE coalesce(json_extract_string(config, '$.tracking.registered_model'), name) = $model_name AND control_of IS NULL
ORDER BY started_at DESC NULLS LAST, run_id;
