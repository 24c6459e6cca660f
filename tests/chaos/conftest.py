"""The campaign's lane, a session long, and its summary."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# pytest puts this folder on its path for test modules only after this file.
sys.path.insert(0, str(Path(__file__).parent))
from lane import Lane


@pytest.fixture(scope="session")
def lane() -> Iterator[Lane]:
    """A home, copies of it and a Prefect server, for the rounds of this process."""
    kept = os.environ.get("KEPT")  # a folder: what this campaign makes first, the next one need not
    number = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    made = Lane(Path(kept) / number, is_kept=True) if kept else Lane(Path(tempfile.mkdtemp(prefix="laconic-chaos-")))
    yield made
    made.close()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Rounds, faults by kind, violations, seconds: for whoever runs the campaign, also from several processes."""
    rounds = [
        dict(report.user_properties)
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "call" and any(name == "fault" for name, _ in report.user_properties)
    ]
    if not rounds:
        return
    write = terminalreporter.write_line
    write("")
    write(f"{'fault':38} rounds  too late  violated  CPU s a round  seconds a round")
    faults = sorted({(r["fault"], r["variant"]) for r in rounds})
    for fault, variant in [*faults, ("all", "")]:
        of_it = [r for r in rounds if fault == "all" or (r["fault"], r["variant"]) == (fault, variant)]
        late, violated = sum(not r["came"] for r in of_it), sum(bool(r["broken"]) for r in of_it)
        cpu, seconds = (sum(r[what] for r in of_it) / len(of_it) for what in ("cpu_seconds", "seconds"))
        name = fault if variant in ("plain", "") else f"{fault} [{variant}]"
        write(f"{name:38} {len(of_it):6} {late:9} {violated:9} {cpu:14.0f} {seconds:16.0f}")
    for r in sorted(rounds, key=lambda r: r["number"]):
        for line in r["broken"]:
            write(f"  round {r['number']} {r['fault']}: {line}")
