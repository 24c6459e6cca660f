"""Training: the RL loop (`loop`), credit (`credit`), the optimiser steps (`update`) on the DeepSpeed policy, and checkpoints."""
