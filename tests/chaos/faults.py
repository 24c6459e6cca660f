"""The faults: each brings a home into its state, does its harm to a command, and says which rules were broken."""

import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pytest
from commands import LOOK_SECONDS, Command, Ended, end_all, kill, kinds_of, slowness
from damages import damage
from lane import LIMIT_SECONDS, Lane
from plans import Moment, Plan
from records import mlflow_running, record_of
from rules import (
    broken_aftermath,
    broken_end,
    broken_failure,
    broken_manners,
    broken_status,
    broken_success,
    said,
)
from servers import IllTracker, mlflow_server

# A command that was told to end, or whose home cannot be written to, does so in this time on a busy machine.
AT_ONCE_SECONDS, READ_ONLY_SECONDS = 10.0, 60.0
# What an outage may cost beside the work itself.
OUTAGE_SECONDS = 60.0
BYSTANDER = ("--set", 'name="bystander"')


@dataclass
class Round:
    """One round while it runs; `broken` collects a line on every rule that does not hold."""

    lane: Lane
    plan: Plan
    broken: list[str] = field(default_factory=list)
    came: bool = True

    @cached_property
    def chance(self) -> random.Random:
        return random.Random(self.plan.chance)

    @property
    def home(self) -> Path:
        return self.lane.home

    @property
    def limit_seconds(self) -> float:
        return LIMIT_SECONDS[self.plan.variant]

    def lay(self) -> None:
        """The home as it is before the command."""
        self.lane.expected(self.plan.command, self.plan.variant)
        self.lane.lay(self.lane.before(self.plan.command), self.plan.variant)

    def start(self, **options: str) -> Command:
        return self.lane.start(self.plan.command, self.plan.variant, **options)

    def wait_for_moment(self, command: Command) -> bool:
        """Wait for the plan's moment; it may not come."""
        moment = self.plan.moment
        if moment.pattern is None:
            at = moment.share * self.lane.usual_seconds(self.plan.command, self.plan.variant)
            self.came = command.wait_for(lambda: command.seconds >= at, self.limit_seconds)
            return self.came
        seen = {path: path.stat().st_mtime_ns for path in self.home.glob(moment.pattern)}
        self.came = command.wait_for(lambda: _changed(self.home, moment, seen), self.limit_seconds)
        if self.came:
            time.sleep(moment.delay_seconds)
        return self.came

    def note(self, broken: list[str]) -> None:
        self.broken += broken

    def end(self, command: Command, limit_seconds: float | None = None) -> Ended:
        """The end of the command the fault was done to."""
        limit = limit_seconds or self.limit_seconds
        ended = command.wait(limit)
        self.note(broken_manners(ended, limit))
        self.note(broken_aftermath(self.lane.place))
        return ended

    def complete(self) -> Ended:
        """The same command again, which nothing keeps from its end; then all is as without the fault."""
        self.lane.server.ensure()
        ended = self.end(self.start())
        self.note(broken_success(ended))
        self.note(broken_end(self.home, self.lane.expected(self.plan.command, self.plan.variant)))
        return ended

    def look(self) -> None:
        """Another command, on another run, finds out what became of this one."""
        self.lane.server.ensure()
        ended = self.lane.start("profile", self.plan.variant, *BYSTANDER).wait(self.limit_seconds)
        self.note(broken_success(ended) + broken_manners(ended, self.limit_seconds))
        self.note([f"{line} although another command has looked" for line in broken_status(self.home, *ENDED)])
        self.note([f"MLflow calls {name} running although another command has looked" for name in mlflow_running(self.home)])


ENDED = ("completed", "failed", "cancelled")


def _changed(home: Path, moment: Moment, seen: dict[Path, int]) -> bool:
    try:
        found = {path: path.stat() for path in home.glob(moment.pattern or "")}
    except OSError:  # it has just been renamed
        return moment.size_bytes == 0
    return any(seen.get(path) != stat.st_mtime_ns and stat.st_size >= moment.size_bytes for path, stat in found.items())


def kill_command(round_: Round) -> None:
    """kill -9 of the command: what it started has to notice."""
    _killed(round_, lambda command: command.signal(signal.SIGKILL))


def kill_everything(round_: Round) -> None:
    """Power goes: kill -9 of every process at once."""
    _killed(round_, lambda command: end_all(round_.home))


def kill_command_with_temporary_server(round_: Round) -> None:
    """kill -9 of a command that has started a Prefect server of its own."""
    _killed(round_, lambda command: command.signal(signal.SIGKILL), lasting_server=False)


def _killed(round_: Round, harm: Callable[[Command], None], lasting_server: bool = True) -> None:
    round_.lay()
    command = round_.lane.start(round_.plan.command, round_.plan.variant, lasting_server=lasting_server)
    came = round_.wait_for_moment(command)
    if came:
        harm(command)
    ended = round_.end(command)
    if ended.exit_status != -signal.SIGKILL and not (ended.exit_status == 0 and not came):
        round_.note([f"{ended.words} was killed and ended with {ended.exit_status}"])
    if round_.plan.is_looked_at:
        round_.look()
    round_.complete()


def kill_worker(round_: Round) -> None:
    """The system kills a worker process, as it does when memory runs out."""
    round_.lay()
    command = round_.start()
    round_.wait_for_moment(command)
    command.wait_for(lambda: bool(_worker(round_)), round_.limit_seconds, LOOK_SECONDS)
    kill(_worker(round_))
    ended = round_.end(command)
    if ended.exit_status != 0:  # 0: its work was done
        round_.note(broken_failure(ended, "memory"))
        round_.note(broken_status(round_.home, *ENDED))
    round_.complete()


def _worker(round_: Round) -> list:  # type: ignore[type-arg]
    return [process for process in round_.lane.place.processes() if kinds_of(process) == "rank"]


def told_to_end(round_: Round) -> None:
    """SIGTERM, or ctrl-c."""
    round_.lay()
    command = round_.start()
    round_.wait_for_moment(command)
    number = signal.Signals[round_.plan.how]
    command.signal(number)
    told = command.seconds
    ended = command.wait(round_.limit_seconds)
    seconds = ended.seconds - told
    if ended.exit_status == 0:  # told when everything was done
        round_.note(broken_end(round_.home, round_.lane.expected(round_.plan.command, round_.plan.variant)))
    elif ended.exit_status not in (128 + number, -number):  # the latter: told before it could note anything
        round_.note([f"{ended.words} ended with {ended.exit_status} after {number.name}: {' | '.join(said(ended))[-300:]}"])
    if seconds > AT_ONCE_SECONDS * slowness():
        round_.note([f"{ended.words} took {seconds:.0f} s to end after {number.name}"])
    round_.note(broken_manners(ended, round_.limit_seconds))
    round_.note(broken_aftermath(round_.lane.place))
    round_.note(broken_status(round_.home, *ENDED))
    round_.complete()


def kill_server(round_: Round) -> None:
    """The Prefect server dies in mid-training."""
    _without_server(round_, round_.lane.server.kill)


def stop_server(round_: Round) -> None:
    """The Prefect server takes connections and answers no more."""
    _without_server(round_, round_.lane.server.stop)


def kill_temporary_server(round_: Round) -> None:
    """The server that a single command started dies in mid-training."""

    def harm() -> None:
        kill([process for process in round_.lane.place.processes() if kinds_of(process) == "prefect"])

    _without_server(round_, harm, lasting_server=False)


def _without_server(round_: Round, harm: Callable[[], None], lasting_server: bool = True) -> None:
    round_.lay()
    usual = round_.lane.usual_seconds("train", round_.plan.variant)
    command = round_.lane.start("train", round_.plan.variant, lasting_server=lasting_server)
    round_.wait_for_moment(command)
    harm()
    harmed = command.seconds
    ended = round_.end(command)
    round_.note(broken_success(ended))
    if ended.seconds > harmed + (usual + OUTAGE_SECONDS) * slowness():
        round_.note([f"train took {ended.seconds - harmed:.0f} s more without a Prefect server; alone it takes {usual:.0f} s"])
    if ended.exit_status == 0:
        round_.note(broken_end(round_.home, round_.lane.expected("train", round_.plan.variant)))
    if not said(ended):
        round_.note(["train said nothing of the Prefect server"])
    round_.complete()


def damage_checkpoint(round_: Round) -> None:
    """A file of an interrupted training's newest checkpoint is damaged: the one before is used, and that is said."""
    round_.lane.expected("train", "plain")
    round_.lane.lay("interrupted", "plain")
    newest = sorted(round_.home.glob("checkpoints/*/step-?????"))[-1]
    path = round_.chance.choice(sorted(path for path in newest.rglob("*") if path.is_file()))
    name = path.relative_to(newest)
    damage(path, round_.plan.how, round_.chance)
    ended = round_.complete()
    if newest.name not in " ".join(said(ended)):
        round_.note([f"nothing was said of {newest.name} after {round_.plan.how} {name}"])


def damage_model(round_: Round) -> None:
    """A file of a finished training's last model is damaged before it is evaluated or registered."""
    round_.lay()
    best_or_last = round_.chance.choice(sorted(round_.home.glob("checkpoints/*/step-?????/model")))
    path = round_.chance.choice(sorted(path for path in best_or_last.rglob("*") if path.is_file()))
    _with_damaged(round_, path, best_or_last.parent)


def damage_steps(round_: Round) -> None:
    """A record of a finished step is damaged while training is interrupted."""
    round_.lane.expected("train", "plain")
    round_.lane.lay("interrupted", "plain")
    path = round_.chance.choice(sorted(round_.home.glob("training/*/steps/step-0000[1-4].json")))
    _with_damaged(round_, path, path.parent)


def _with_damaged(round_: Round, path: Path, folder: Path) -> None:
    """Either all comes out right, or file or folder is named, and all comes out right once the folder is put back."""
    whole = shutil.copytree(folder, round_.lane.place.folder / "whole")
    damage(path, round_.plan.how, round_.chance)
    ended = round_.end(round_.start())
    if ended.exit_status != 0:
        round_.note(broken_failure(ended, path.name, folder.name))
        round_.note(broken_status(round_.home, *ENDED))
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    if not any(name in ended.err for name in (path.name, folder.name)):
        expected = round_.lane.expected(round_.plan.command, round_.plan.variant)
        round_.note([f"{line} ({round_.plan.how} {path.name})" for line in record_of(round_.home).differences(expected)])
    round_.complete()


def damage_handed_over(round_: Round) -> None:
    """What the command writes for its worker is damaged before the worker has read it."""
    round_.lay()
    command = round_.start()
    if round_.wait_for_moment(command):
        for path in round_.home.glob(round_.plan.moment.pattern or ""):
            damage(path, round_.plan.how, round_.chance)
    ended = round_.end(command)
    if ended.exit_status != 0:  # 0: it had been read
        round_.note(broken_failure(ended))
        round_.note(broken_status(round_.home, *ENDED))
    round_.complete()


def damage_rollouts(round_: Round) -> None:
    """A shard of rollouts is damaged in a finished home: it is named, and what has nothing to do with it still answers."""
    round_.lane.expected("report", "plain")
    round_.lane.lay("report", "plain")
    path = round_.chance.choice(sorted(round_.home.glob("rollouts/[!~]*/*/*.parquet")))
    whole = path.read_bytes()
    damage(path, round_.plan.how, round_.chance)
    other = round_.lane.ask("sql", "SELECT count(*) FROM training_steps")
    of_it = round_.lane.ask("sql", f"SELECT count(*) FROM rollouts WHERE stage = '{path.parent.name}'")
    of_others = round_.lane.ask("sql", "SELECT count(*) FROM rollouts WHERE run_id = 'another'")
    page = round_.end(round_.start())
    for ended in (other, of_others):
        round_.note(broken_success(ended))
    for ended in (other, of_it, of_others, page):
        round_.note(broken_manners(ended, 120.0))
    for ended in (of_it, page):
        if path.name not in " ".join([*said(ended), ended.out]) and (ended.exit_status != 0 or ended is of_it):
            round_.note(
                [f"{ended.words} ended with {ended.exit_status} without naming {path.name}: {' | '.join(said(ended))[:200]}"]
            )
    path.write_bytes(whole)
    round_.complete()


def full_disk(round_: Round) -> None:
    """The disk is full before the command is through."""
    plan = round_.plan
    growth = round_.lane.growth_bytes(plan.command, plan.variant)
    try:
        round_.lane.lay_on_small_disk(round_.lane.before(plan.command), plan.variant, int(plan.chance * growth))
    except (subprocess.CalledProcessError, FileNotFoundError):
        pytest.skip("mounting a small disk needs root in a container that may mount")
    ended = round_.end(round_.start())
    if ended.exit_status != 0:  # 0: it needed less
        round_.note(broken_failure(ended, "space", "disk", "full", "mlflow"))
        round_.note(broken_status(round_.home, *ENDED))
    round_.came = ended.exit_status != 0
    round_.lane.remount("size=4g")
    round_.complete()


def read_only_home(round_: Round) -> None:
    """The home cannot be written to."""
    plan = round_.plan
    try:
        round_.lane.expected(plan.command, plan.variant)
        round_.lane.lay_on_small_disk(round_.lane.before(plan.command), plan.variant, 1 << 30)
        round_.lane.remount("ro")
    except (subprocess.CalledProcessError, FileNotFoundError):
        pytest.skip("mounting a disk of its own needs root in a container that may mount")
    ended = round_.end(round_.start())
    round_.note(broken_failure(ended, "read-only", "permission", "writ", str(round_.home)))
    if ended.seconds > READ_ONLY_SECONDS * slowness():
        round_.note([f"{ended.words} took {ended.seconds:.0f} s to find its home read-only"])
    round_.lane.remount("rw")
    round_.complete()


def ill_tracker(round_: Round) -> None:
    """MLflow's address leads to something that refuses, is silent, drips a byte a second or answers errors."""
    round_.lay()
    usual = round_.lane.usual_seconds(round_.plan.command, round_.plan.variant)
    tracker = IllTracker(round_.plan.how)
    try:
        command = round_.start(MLFLOW_TRACKING_URI=tracker.address)
        if round_.plan.chance < 0.25:
            _ended_in_outage(round_, command)
        else:
            ended = round_.end(command, min(round_.limit_seconds, 3 * usual + OUTAGE_SECONDS))
            round_.note(broken_failure(ended, "mlflow"))  # what was never delivered is no success
            round_.note(broken_status(round_.home, *ENDED))
    finally:
        tracker.close()
    round_.complete()


def _ended_in_outage(round_: Round, command: Command) -> None:
    round_.wait_for_moment(command)
    command.signal(signal.SIGTERM)
    told = command.seconds
    seconds = round_.end(command).seconds - told
    if seconds > AT_ONCE_SECONDS * slowness():
        round_.note([f"{command.words} took {seconds:.0f} s to end after SIGTERM, its tracker being ill"])


def locked_tracker(round_: Round) -> None:
    """Another program holds MLflow's database for some seconds."""
    round_.lay()
    command = round_.start()
    seconds = 1.0 + 14.0 * round_.plan.chance
    if round_.wait_for_moment(command):
        with closing(sqlite3.connect(round_.home / "mlflow.db", timeout=5, isolation_level=None)) as database:
            try:
                database.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError:  # in use just then
                round_.came = False
            time.sleep(seconds)
    ended = round_.end(command)
    if ended.exit_status != 0:  # 0: all was delivered after it
        round_.note(broken_failure(ended, "mlflow"))
    round_.note(broken_status(round_.home, *ENDED))
    round_.complete()


def broken_tracker(round_: Round) -> None:
    """MLflow's database is damaged: an outage like any other, until the file is put back."""
    round_.lay()
    path = round_.home / "mlflow.db"
    whole = path.read_bytes()
    damage(path, round_.plan.how, round_.chance)
    ended = round_.end(round_.start())
    round_.note(broken_failure(ended, "mlflow"))
    round_.note(broken_status(round_.home, *ENDED))
    path.write_bytes(whole)
    round_.complete()


def returning_tracker(round_: Round) -> None:
    """A tracking server that is not there yet when the command starts."""
    round_.lay()
    folder = round_.lane.place.folder / "mlflow"
    tracker = IllTracker("refuses")
    command = round_.start(MLFLOW_TRACKING_URI=tracker.address)
    port = int(tracker.address.rsplit(":", 1)[1])
    time.sleep(round_.plan.chance * 3.0)
    tracker.close()
    with mlflow_server(round_.home, folder, port):
        ended = round_.end(command)
    if ended.exit_status != 0:  # 0: it came in time for everything
        round_.note(broken_failure(ended, "mlflow"))
    round_.note(broken_status(round_.home, *ENDED))
    round_.complete()


FAULTS: dict[str, Callable[[Round], None]] = {
    "signal": told_to_end,
    **{
        function.__name__: function
        for function in (
            kill_command,
            kill_everything,
            kill_command_with_temporary_server,
            kill_worker,
            kill_server,
            stop_server,
            kill_temporary_server,
            damage_checkpoint,
            damage_model,
            damage_steps,
            damage_handed_over,
            damage_rollouts,
            full_disk,
            read_only_home,
            ill_tracker,
            locked_tracker,
            broken_tracker,
            returning_tracker,
        )
    },
}


def play(lane: Lane, plan: Plan) -> Round:
    """Play a round to its end."""
    round_ = Round(lane, plan)
    lane.server.ensure()
    FAULTS[plan.fault](round_)
    return round_
