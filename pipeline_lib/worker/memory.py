"""How much memory a worker took, for when the system ends it without a word."""

import time
from pathlib import Path

import psutil

from pipeline_lib.processes import descendants

LOOK_SECONDS = 0.5
GIB = 1 << 30


class MemoryWatch:
    """The memory of a process and its descendants, looked at while they run, and the system's own account of killings."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._next = 0.0
        self._most = 0
        self._least_available = psutil.virtual_memory().available
        self._kills = _oom_kills()

    def look(self) -> None:
        """Take note, if it is time to."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + LOOK_SECONDS
        try:
            processes = [psutil.Process(self._pid), *descendants(self._pid)]
        except psutil.Error:
            return
        self._most = max(self._most, sum(map(_resident_bytes, processes)))
        self._least_available = min(self._least_available, psutil.virtual_memory().available)

    def words(self) -> str:
        """What was seen, for a message."""
        total, limit = psutil.virtual_memory().total, _cgroup_text("memory.max").strip()
        words = f"it was seen to hold up to {self._most / GIB:.2f} of the machine's {total / GIB:.1f} GiB"
        words += f" (at the least {self._least_available / GIB:.2f} GiB were free"
        words += f"; this container may use {int(limit) / GIB:.1f} GiB)" if limit.isdigit() and int(limit) < total else ")"
        kills = _oom_kills() - self._kills
        return f"{words}; the system counts {kills} killed for lack of memory meanwhile" if kills > 0 else words


def _resident_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _oom_kills() -> int:
    """Processes that the kernel has ended for lack of memory, of this control group or else of the machine."""
    for text in (_cgroup_text("memory.events"), _text(Path("/proc/vmstat"))):
        for line in text.splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0


def _cgroup_text(name: str) -> str:
    own = _text(Path("/proc/self/cgroup")).rpartition("0::")[2].strip().lstrip("/")
    root = Path("/sys/fs/cgroup")
    return _text(root / own / name) or _text(root / name)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
