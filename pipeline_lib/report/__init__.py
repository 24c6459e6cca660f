"""Figures and the self-contained HTML report of a run, from plain rows."""

from pipeline_lib.report.data import ExtraTable, ReportData, RolloutPair, RunFacts, RunSeries
from pipeline_lib.report.html import write_report

__all__ = ["ExtraTable", "ReportData", "RolloutPair", "RunFacts", "RunSeries", "write_report"]
