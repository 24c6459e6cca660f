-- The checkpoint that is a version of a registered model.
SELECT * FROM checkpoints WHERE model_name = $model_name AND model_version = $model_version;
