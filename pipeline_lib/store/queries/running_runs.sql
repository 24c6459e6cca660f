-- Runs that are called running.
SELECT run_id, name, config::VARCHAR AS config, prefect_flow_run_id, mlflow_run_id FROM runs WHERE status = 'running' ORDER BY run_id;
