-- All decisions, oldest first within a model.
SELECT * FROM promotions ORDER BY model_name, number;
