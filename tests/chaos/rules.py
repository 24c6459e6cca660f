"""What must hold after every fault, whatever it was."""

import re
from pathlib import Path

from commands import Ended, Place, orphans
from records import Record, mlflow_running, record_of, statuses

# A line of progress, and the greeting of `laconic run`.
PROGRESS = re.compile(r"^\s*\S+: (profile|train|evaluate|warm-?up): \d+/\d+|^starting the engines|^\s*$")
# Each a line, whatever fails: one error, and what was done about faults on the way.
MOST_LINES = 6
# (Folders called ~ and KEY=~ hold files that only carry the columns of the rollouts.)
LEFTOVERS = re.compile(r"\.(tmp|partial|new|part|making|incomplete|removed)$|^\.tmp|(?<=[^=])~$|\.tmp\.|\.partial\.")


def said(ended: Ended) -> list[str]:
    """The lines on stderr that are no progress."""
    return [line for line in ended.err.splitlines() if not PROGRESS.match(line)]


def errors_of(ended: Ended) -> list[str]:
    """The lines that say why a command ended."""
    return [line for line in said(ended) if line.startswith("laconic: ")]


def broken_manners(ended: Ended, limit_seconds: float) -> list[str]:
    """Of any command, whatever happened to it: it ends, and says so in few lines without a traceback."""
    words = ended.words
    if ended.exit_status is None:
        return [f"{words} had not ended after {limit_seconds:.0f} s"]
    broken = []
    lines = said(ended)
    if any(line.startswith("Traceback (most recent call last)") for line in [*lines, *ended.out.splitlines()]):
        broken.append(f"{words} showed a traceback")
    if len(lines) > MOST_LINES:
        broken.append(f"{words} wrote {len(lines)} lines to stderr, beginning with: {' | '.join(lines[:3])[:300]}")
    if ended.exit_status > 0 and ended.exit_status < 128 and len(errors_of(ended)) != 1:
        broken.append(f"{words} ended with {ended.exit_status} and {len(errors_of(ended))} error lines, not one")
    return broken


def broken_failure(ended: Ended, *names: str) -> list[str]:
    """Of a command that must fail by itself: exit status 1 and one line that names what is wrong (one of these words)."""
    if ended.exit_status != 1:
        return [f"{ended.words} ended with {ended.exit_status} where 1 is true; it said: {' | '.join(said(ended))[:300]}"]
    line = " ".join(errors_of(ended))
    if names and not any(name.lower() in line.lower() for name in names):
        return [f"{ended.words} failed without naming {' or '.join(names)}: {line[:300]}"]
    return []


def broken_success(ended: Ended) -> list[str]:
    """Of a command that nothing keeps from its work."""
    if ended.exit_status == 0:
        return []
    return [f"{ended.words} ended with {ended.exit_status} where 0 is true: {' | '.join(said(ended))[-400:]}"]


def broken_aftermath(place: Place) -> list[str]:
    """Once the command of a fault is gone: nothing of it runs on, or wrote anywhere but to the home."""
    broken = []
    if left := orphans(place.home):
        broken.append(f"left running: {', '.join(left)}")
    if strays := place.strays():
        broken.append(f"written outside the home: {', '.join(strays[:5])}")
    return broken


def broken_status(home: Path, *right: str) -> list[str]:
    """What `runs.status` must not call otherwise."""
    return [f"run {run_id} is called {status}" for run_id, status in statuses(home).items() if status not in right]


def broken_end(home: Path, expected: Record) -> list[str]:
    """Once the same command was let to its end: all is as in the unbroken run, and nothing half done lies about."""
    broken = record_of(home).differences(expected)
    broken += [f"MLflow calls {name} running" for name in mlflow_running(home)]
    broken += broken_status(home, "completed")
    leftovers = [path.relative_to(home) for path in home.rglob("*") if LEFTOVERS.search(path.name)]
    # A worker's folder is kept as its command left it.
    leftovers = [path for path in leftovers if path.parts[0] != "workers"]
    if leftovers:
        broken.append(f"left over: {', '.join(map(str, leftovers[:5]))}")
    return broken
