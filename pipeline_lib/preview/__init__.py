"""What a first training step would see, for any reward, mask, L_T, subset and N, from profiled rollouts and without a model."""
