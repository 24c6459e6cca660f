"""The Prefect server: the one that lasts and the temporary one of single commands, both behind the same guard."""
