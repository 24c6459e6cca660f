"""The store: DuckDB tables and Parquet rollouts below LACONIC_HOME.

`database.Store` is the way in; `rollout_files` writes and reads rollouts without DuckDB, for worker processes. This file
imports nothing, so that a worker can import `rollout_files` where DuckDB is absent.
"""
