"""Prefect tasks: the stages, each by the one task of `tasks.stage`, and what else writes rows or publishes artifacts."""
