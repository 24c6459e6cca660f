"""Prefect tasks, one a stage: open the store, call the library, write rows, publish an artifact."""
