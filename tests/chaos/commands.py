"""Drives the command line as a user does, in a home, a HOME, a working folder and a temporary folder of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

import psutil

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIG = Path(__file__).with_name("chaos.toml")
LACONIC = [sys.executable, "-m", "flows.cli"]
# Moments pass quickly; who looks through all processes of the machine must not take a core for it.
POLL_SECONDS, LOOK_SECONDS = 0.01, 0.2
ORPHAN_SECONDS = 30.0
PROBE_SECONDS = 0.05
# Where libraries keep caches and settings of the user's.
LIBRARY_FOLDERS = (".cache", ".config", ".triton")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: its exit status (None: it had to be ended after its time limit), what it said, its seconds."""

    words: str
    exit_status: int | None
    out: str
    err: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Place:
    """The folders a command may write to. Only `home` is meant to be written to."""

    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def make(self) -> None:
        """Empty folders; the user's caches (compiled operators, fonts) stay the user's."""
        for name in ("home", "user", "working", "temporary", "said"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        caches = self.folder / "user" / ".cache"
        if not caches.is_symlink():
            (Path.home() / ".cache").mkdir(exist_ok=True)
            caches.symlink_to(Path.home() / ".cache")

    def environment(self) -> dict[str, str]:
        """What the machine sets, without anything of Prefect's, MLflow's or ours."""
        ours = ("PREFECT", "MLFLOW", "LACONIC", "PYTEST", "HF_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return {
            **inherited,
            "LACONIC_HOME": str(self.home),
            "HOME": str(self.folder / "user"),
            "TMPDIR": str(self.folder / "temporary"),
            "PYTHONPATH": str(REPOSITORY),
            "COLUMNS": "200",
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        }

    def strays(self) -> list[str]:
        """What lies outside the home although nothing should."""
        found = [*(self.folder / "working").rglob("*"), *(self.folder / "user").iterdir()]
        return sorted(str(path) for path in found if path.name not in LIBRARY_FOLDERS)

    def processes(self) -> list[psutil.Process]:
        """Everything that runs for the home: each process of a command inherits LACONIC_HOME."""
        return processes_of(self.home)


class Command:
    """A command that was started, in a process group of its own as a terminal would give it."""

    def __init__(self, place: Place, arguments: list[str], **variables: str) -> None:
        self.words = " ".join(arguments[:1])
        self._place = place
        self._started = time.monotonic()
        number = len(list((place.folder / "said").glob("*.out")))
        self._out, self._err = (place.folder / "said" / f"{number:02d}-{self.words}.{end}" for end in ("out", "err"))
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [*LACONIC, *arguments],
                env={**place.environment(), **variables},
                cwd=place.folder / "working",
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                # A shell starts what it puts in the background deaf to ctrl-c.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    @property
    def seconds(self) -> float:
        """Since it was started."""
        return time.monotonic() - self._started

    def wait_for(self, came: Callable[[], bool], limit_seconds: float, poll_seconds: float = POLL_SECONDS) -> bool:
        """Wait for a moment; False when the command ended, or the time ran out, before it came."""
        while self.is_running and self.seconds < limit_seconds:
            if came():
                return True
            time.sleep(poll_seconds)
        return False

    def signal(self, number: int) -> None:
        """To the command alone; SIGINT to its whole group, as ctrl-c in a terminal does."""
        if self.is_running and number == signal.SIGINT:
            os.killpg(self.process.pid, number)
        elif self.is_running:
            self.process.send_signal(number)

    def wait(self, limit_seconds: float) -> Ended:
        """Its end; one that does not come in time is brought about, with everything that belongs to the home."""
        while self.is_running and self.seconds < limit_seconds * slowness():
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(max(0.1, min(limit_seconds - self.seconds, 5.0)))
        status = self.process.poll()
        if status is None:
            end_all(self._place.home)
            self.process.wait(30)
        out, err = (path.read_text(encoding="utf-8", errors="replace") for path in (self._out, self._err))
        return Ended(self.words, status, out, err, self.seconds)


def slowness() -> float:
    """How many times longer work takes at the moment than on an idle machine: every limit of time is meant for such a one."""
    started, busy = time.monotonic(), time.thread_time()
    while time.thread_time() - busy < PROBE_SECONDS:
        pass
    return max(1.0, (time.monotonic() - started) / PROBE_SECONDS)


def processes_of(home: Path) -> list[psutil.Process]:
    """Processes with this LACONIC_HOME, zombies aside."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("LACONIC_HOME") == str(home):
                found.append(process)
        except psutil.Error:
            continue
    return found


def kinds_of(process: psutil.Process) -> str:
    """What a process of a home is: command, rank, prefect (a temporary server) or other."""
    try:
        words = process.cmdline()
    except psutil.Error:
        return "gone"
    if "pipeline_lib.worker.program" in words:
        return "rank"
    if "flows.cli" in words:
        return "command"
    return "prefect" if any("prefect" in word or "flows.server" in word for word in words) else "other"


def kill(processes: list[psutil.Process]) -> None:
    """kill -9, whoever is still there."""
    for process in processes:
        with suppress(psutil.Error):
            process.kill()


# CPU seconds of processes that outlived who started them, as last seen: nobody adds these up.
CPU_OF_OTHERS: dict[tuple[int, float], float] = {}


def note_cpu(processes: list[psutil.Process]) -> None:
    """Remember what they have used, unless they are our own children, whom the system adds up."""
    for process in processes:
        with suppress(psutil.Error):
            if process.ppid() != os.getpid():
                CPU_OF_OTHERS[process.pid, process.create_time()] = sum(process.cpu_times()[:2])


def cpu_seconds() -> float:
    """What this process, the commands that have ended and those processes have used so far."""
    used = [getrusage(who) for who in (RUSAGE_SELF, RUSAGE_CHILDREN)]
    return sum(CPU_OF_OTHERS.values()) + sum(each.ru_utime + each.ru_stime for each in used)


def end_all(home: Path) -> None:
    """End whatever a home's commands have left, for good."""
    while left := processes_of(home):
        note_cpu(left)
        kill(left)
        time.sleep(0.1)


def orphans(home: Path) -> list[str]:
    """What still runs for a home 30 s after its last command ended; ended here."""
    started = time.monotonic()
    while (left := processes_of(home)) and time.monotonic() - started < ORPHAN_SECONDS * slowness():
        note_cpu(left)
        time.sleep(LOOK_SECONDS)
    described = [f"{kinds_of(process)} {process.pid}" for process in left]
    end_all(home)
    return described
