"""Training: the RL loop (`loop`), the DeepSpeed policy, checkpoints, and the worker process that runs generation and training."""
