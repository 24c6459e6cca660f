"""Judging models by recorded rollouts: the budget sweep, the paired comparison and the gate."""
