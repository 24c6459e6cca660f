"""Figures and the self-contained HTML report of a run, from plain rows."""
