"""Experiments: each finding of the paper as a base configuration, arms that differ in named settings, and claims to be judged."""
