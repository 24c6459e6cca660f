"""Drives the command line as a user does, in a home, a HOME, a working folder and a temporary folder of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIG = Path(__file__).with_name("chaos.toml")
LACONIC = [sys.executable, "-m", "flows.cli"]
POLL_SECONDS = 0.01
ORPHAN_SECONDS = 30.0
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

    def wait_for(self, came: Callable[[], bool], limit_seconds: float) -> bool:
        """Wait for a moment; False when the command ended, or the time ran out, before it came."""
        while self.is_running and self.seconds < limit_seconds:
            if came():
                return True
            time.sleep(POLL_SECONDS)
        return False

    def signal(self, number: int) -> None:
        """To the command alone; SIGINT to its whole group, as ctrl-c in a terminal does."""
        if self.is_running and number == signal.SIGINT:
            os.killpg(self.process.pid, number)
        elif self.is_running:
            self.process.send_signal(number)

    def wait(self, limit_seconds: float) -> Ended:
        """Its end; one that does not come in time is brought about, with everything that belongs to the home."""
        status: int | None
        try:
            status = self.process.wait(max(0.1, limit_seconds - self.seconds))
        except subprocess.TimeoutExpired:
            status = None
            end_all(self._place.home)
            self.process.wait(30)
        out, err = (path.read_text(encoding="utf-8", errors="replace") for path in (self._out, self._err))
        return Ended(self.words, status, out, err, self.seconds)


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
    """What a process of a home is: command, launcher, rank, prefect (a temporary server) or other."""
    try:
        words = process.cmdline()
    except psutil.Error:
        return "gone"
    if any(word.startswith("torch.distributed") or word.startswith("deepspeed.launcher") for word in words):
        return "launcher"
    if "pipeline_lib.worker.program" in words:
        return "rank"
    if "flows.cli" in words:
        return "command"
    return "prefect" if any("prefect" in word or "flows.server" in word for word in words) else "other"


def kill(processes: list[psutil.Process]) -> None:
    """kill -9, whoever is still there."""
    for process in processes:
        try:
            process.kill()
        except psutil.Error:
            continue


def end_all(home: Path) -> None:
    """End whatever a home's commands have left, for good."""
    while left := processes_of(home):
        kill(left)
        time.sleep(0.1)


def orphans(home: Path) -> list[str]:
    """What still runs for a home 30 s after its last command ended; ended here."""
    deadline = time.monotonic() + ORPHAN_SECONDS
    while (left := processes_of(home)) and time.monotonic() < deadline:
        time.sleep(0.2)
    described = [f"{kinds_of(process)} {process.pid}" for process in left]
    end_all(home)
    return described
