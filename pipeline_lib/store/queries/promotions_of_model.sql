-- The decisions about a registered model, oldest first.
SELECT * FROM promotions WHERE model_name = $model_name ORDER BY number;
