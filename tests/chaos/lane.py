"""One lane of a campaign: a home at one path (checkpoints are stored with theirs), and copies of it between the stages."""

import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from commands import CONFIG, Command, Ended, Place, end_all
from records import Record, record_of
from servers import PrefectServer

STAGES = ("profile", "filter", "train", "evaluate", "register", "report")
# Runs that rounds are about; the first is by far the quickest.
VARIANTS: dict[str, list[str]] = {
    "plain": [],
    "control": ["control.enabled=true"],
    "vllm": ['generation.engine="vllm"'],
}
LIMIT_SECONDS = {"plain": 180.0, "control": 300.0, "vllm": 400.0}
# The training that damages are done to: two checkpoints are there, and it is not at its end.
INTERRUPTED_AT = "training/*/steps/step-00005.json"


class UnbrokenFailed(RuntimeError):
    """A run that no fault was done to failed: the campaign has nothing to compare with."""


@dataclass
class Lane:
    """`folder` is the lane's alone. References are made when they are first needed, by the commands themselves.

    A folder that is kept serves the next campaign of the same code.
    """

    folder: Path
    is_kept: bool = False
    server: PrefectServer = field(init=False)
    place: Place = field(init=False)
    _records: dict[tuple[str, str], Record] = field(default_factory=dict)
    _mounted: bool = False

    def __post_init__(self) -> None:
        self.server = PrefectServer(self.folder / "prefect")
        self.place = Place(self.folder / "place")

    @property
    def home(self) -> Path:
        return self.place.home

    def arguments(self, command: str, variant: str, *more: str) -> list[str]:
        """The command line of a stage."""
        overrides = [word for override in VARIANTS[variant] for word in ("--set", override)]
        return [command, str(CONFIG), *overrides, *more]

    def start(self, command: str, variant: str, *more: str, lasting_server: bool = True, **variables: str) -> Command:
        """Start a stage's command; without the lasting server it starts a temporary one of its own."""
        if lasting_server:
            variables = {"PREFECT_API_URL": self.server.address, **variables}
        return Command(self.place, self.arguments(command, variant, *more), **variables)

    def ask(self, *arguments: str) -> Ended:
        """A command that only looks."""
        return Command(self.place, list(arguments)).wait(120.0)

    def lay(self, stage: str, variant: str) -> None:
        """Bring the home to where it was after a stage ("" is before all)."""
        self._make(stage, variant)
        self._clear()
        self._copy(self._snapshot(stage, variant), self.home)

    def lay_on_small_disk(self, stage: str, variant: str, free_bytes: int) -> None:
        """The same on a disk of its own with little space left; needs the right to mount."""
        self._make(stage, variant)
        self._clear()
        snapshot = self._snapshot(stage, variant)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4g", "tmpfs", str(self.home)], check=True, capture_output=True)
        self._mounted = True
        self._copy(snapshot, self.home)
        used = shutil.disk_usage(self.home).used
        self.remount(f"size={used + free_bytes}")

    def remount(self, option: str) -> None:
        """Change the home's disk: `size=4g`, `ro`, `rw`."""
        subprocess.run(["mount", "-o", f"remount,{option}", str(self.home)], check=True, capture_output=True)

    def keep(self, folder: Path) -> None:
        """Copy what a round left behind: the home, and what its commands said."""
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.place.folder, folder, symlinks=True)

    def growth_bytes(self, command: str, variant: str) -> int:
        """By how much a command lets the home grow."""
        before, after = self.before(command), self.after(command)
        self._make(after, variant)
        return _size(self._snapshot(after, variant)) - _size(self._snapshot(before, variant))

    def expected(self, command: str, variant: str) -> Record:
        """What a home holds after the unbroken command."""
        stage = self.after(command)
        self._make(stage, variant)
        if (stage, variant) not in self._records:
            self._records[stage, variant] = record_of(self._snapshot(stage, variant))
        return self._records[stage, variant]

    def prepare(self, command: str, variant: str) -> None:
        """Make what a round of this command starts from and is held against, where it is not there yet."""
        self._make(self.after(command), variant)

    def usual_seconds(self, command: str, variant: str) -> float:
        """How long the unbroken command took."""
        self._make(self.after(command), variant)
        stages = STAGES[2:] if command == "run" else [command]
        return sum(float(self._seconds_file(stage, variant).read_text()) for stage in stages)

    @staticmethod
    def before(command: str) -> str:
        """The stage after which the home of a round is taken."""
        if command == "run":  # profile and filter have their own rounds
            return "filter"
        place = STAGES.index(command)
        return STAGES[place - 1] if place else ""

    @staticmethod
    def after(command: str) -> str:
        """The stage that a command ends with."""
        return "report" if command == "run" else command

    def close(self) -> None:
        """End everything and remove everything."""
        end_all(self.home)
        self.server.kill()
        self._clear()
        if not self.is_kept:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _make(self, stage: str, variant: str) -> None:
        """Make the copies of a home up to a stage, where they are not there yet."""
        snapshot = self._snapshot(stage, variant)
        if snapshot.exists():
            return
        if stage == "":
            snapshot.mkdir(parents=True)
            return
        if stage == "interrupted":
            self._interrupt(variant)
        else:
            self._run_unbroken(stage, variant)
        making = snapshot.with_name("making")
        shutil.rmtree(making, ignore_errors=True)
        self._copy(self.home, making)
        making.rename(snapshot)

    def _run_unbroken(self, stage: str, variant: str) -> None:
        self.lay(self.before(stage), variant)
        self.server.ensure()
        ended = self.start(stage, variant).wait(LIMIT_SECONDS[variant])
        if ended.exit_status != 0:
            raise UnbrokenFailed(f"{stage} without a fault ended with {ended.exit_status}: {ended.err[-2000:]}")
        self._seconds_file(stage, variant).write_text(str(ended.seconds))

    def _interrupt(self, variant: str) -> None:
        self.lay("filter", variant)
        self.server.ensure()
        command = self.start("train", variant)
        if not command.wait_for(lambda: any(self.home.glob(INTERRUPTED_AT)), LIMIT_SECONDS[variant]):
            raise UnbrokenFailed("a training to be interrupted ended too early")
        end_all(self.home)
        command.wait(30.0)

    def _snapshot(self, stage: str, variant: str) -> Path:
        return self.folder / "snapshots" / variant / (stage or "empty")

    def _seconds_file(self, stage: str, variant: str) -> Path:
        return self._snapshot(stage, variant).with_suffix(".seconds")

    def _clear(self) -> None:
        """An empty home, on the ordinary disk."""
        end_all(self.home)
        for _ in range(20 if self._mounted else 0):
            if subprocess.run(["umount", str(self.home)], capture_output=True, check=False).returncode == 0:
                self._mounted = False
                break
            time.sleep(0.5)
        shutil.rmtree(self.place.folder, ignore_errors=True)
        self.place.make()

    @staticmethod
    def _copy(source: Path, destination: Path) -> None:
        if source != destination:
            shutil.copytree(source, destination, symlinks=True, dirs_exist_ok=True)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
