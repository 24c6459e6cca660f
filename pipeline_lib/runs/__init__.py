"""Runs: what one is, the session that works on it, its base model, and how those that were left are found and ended."""
