"""The worker: a process group of its own that holds the engine and runs generation and training jobs given as files."""
