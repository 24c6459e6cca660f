"""Retraining a registered model: what is trained next, whether it replaces the champion, and the way back."""
