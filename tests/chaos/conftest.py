"""The campaign's lane, a session long, and its summary."""

import sys
import tempfile
from collections import Counter
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
    made = Lane(Path(tempfile.mkdtemp(prefix="laconic-chaos-")))
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
    faults, missed = Counter(r["fault"] for r in rounds), Counter(r["fault"] for r in rounds if not r["came"])
    broken = {fault: sum(bool(r["broken"]) for r in rounds if r["fault"] == fault) for fault in faults}
    write = terminalreporter.write_line
    seconds = sorted(r["seconds"] for r in rounds)
    write("")
    write(f"{'fault':38} rounds  too late  violated")
    for fault, count in sorted(faults.items()):
        write(f"{fault:38} {count:6} {missed[fault]:9} {broken[fault]:9}")
    write(f"{'all':38} {len(rounds):6} {sum(missed.values()):9} {sum(broken.values()):9}")
    cpu = sum(r["cpu_seconds"] for r in rounds)
    write(
        f"seconds a round: median {seconds[len(seconds) // 2]:.0f}, largest {seconds[-1]:.0f}, sum {sum(seconds):.0f} (CPU {cpu:.0f})"
    )
    for r in sorted(rounds, key=lambda r: r["number"]):
        for line in r["broken"]:
            write(f"  round {r['number']} {r['fault']}: {line}")
