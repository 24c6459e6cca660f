"""The one runner of all stages: skips, takes over, forces, postpones and records, shown by a stage that only counts its work."""

import inspect
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib.config import digest, load_config
from pipeline_lib.runs.run import Run
from pipeline_lib.runs.session import RunSession, sessions_of
from pipeline_lib.stages import STAGES, StageEntry
from pipeline_lib.stages.display import Display
from pipeline_lib.stages.pipeline import run_for_all, run_whole
from pipeline_lib.stages.runner import run_stage
from pipeline_lib.stages.stage import Postponed, StageOfRuns, Summary, Unit
from pipeline_lib.worker.process import WorkerProcess


class Counting(StageOfRuns):
    name = "counting"

    def __init__(self, result: Callable[[], Summary] = lambda: {"n": 1}) -> None:
        self.result = result
        self.worked: list[str] = []
        self.taken_over: list[tuple[str, str]] = []

    def fingerprint(self, session: RunSession) -> str:
        return digest(session.run.config.seed)

    def work(self, unit: Unit, display: Display) -> Summary:
        self.worked.append(unit.session.run.config.name)
        return self.result()

    def take_over(self, unit: Unit, owner: str) -> None:
        self.taken_over.append((owner, unit.session.run.run_id))


@pytest.fixture
def make(home: Path, configs: Path) -> Callable[..., RunSession]:
    """A session of a run of the smoke configuration, changed."""

    def session(*overrides: str, force: bool = False) -> RunSession:
        return RunSession(Run.of(load_config(configs / "smoke.toml", ["tracking.enabled=false", *overrides])), force)

    return session


def recorded(session: RunSession) -> list[tuple[Any, ...]]:
    return session.store.query("select run_id, summary->>'n', reused_from from stage_results order by recorded_at").rows


def test_what_is_done_is_skipped_taken_over_or_forced(make: Callable[..., RunSession]) -> None:
    stage, one, other, longer = Counting(), make(), make("name=other"), make("name=longer", "seed=1")
    run_id, other_id = one.run.run_id, other.run.run_id
    assert run_stage(stage, [one]) == {"n": 1}
    assert run_stage(stage, [one]) == {"n": 1, "skipped": True}
    assert run_stage(stage, [other]) == {"n": 1, "reused_from": run_id}
    assert run_stage(stage, [longer]) == {"n": 1}
    assert (stage.worked, stage.taken_over) == (["smoke", "longer"], [(run_id, other_id)])
    assert run_stage(stage, [make("name=other", force=True)]) == {"n": 1}
    assert stage.worked[-1] == "other"
    assert recorded(one) == [(run_id, "1", None), (longer.run.run_id, "1", None), (other_id, "1", None)]


def test_of_several_runs_with_the_same_inputs_one_is_worked_on(make: Callable[..., RunSession]) -> None:
    stage, one, other = Counting(), make(), make("name=other")
    run_stage(stage, [one, other])
    assert stage.worked == ["smoke"] and recorded(one)[1] == (other.run.run_id, "1", one.run.run_id)


def test_what_fails_or_is_postponed_is_not_done(make: Callable[..., RunSession]) -> None:
    session = make()
    run_stage(Counting(), [session])
    assert run_stage(Counting(lambda: Postponed(n=0)), [make(force=True)]) == {"n": 0}
    assert recorded(session) == []
    run_stage(Counting(), [session])

    def fail() -> Summary:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        run_stage(Counting(fail), [make(force=True)])
    assert recorded(session) == [], "the old record would stand over what the failed attempt left"


def test_a_forced_filter_that_fails_leaves_what_was_selected(make: Callable[..., RunSession]) -> None:
    """A training run is known by what its record says was selected: without it, its checkpoints would be set aside."""

    def fail() -> Summary:
        raise OSError("the hub is out of reach")

    session, stage = make(), Counting(fail)
    stage.leaves_files = STAGES["filter"].stage.leaves_files  # type: ignore[misc]
    run_stage(Counting(), [session])
    with pytest.raises(OSError, match="out of reach"):
        run_stage(stage, [make(force=True)])
    assert recorded(session) == [(session.run.run_id, "1", None)]


def test_a_stage_whose_results_are_not_taken_over_is_done_for_every_run(make: Callable[..., RunSession]) -> None:
    stage, one, other = Counting(), make(), make("name=other")
    stage.takes_over = False  # type: ignore[misc]
    run_stage(stage, [one, other])
    assert stage.worked == ["smoke", "other"] and stage.taken_over == []


def test_a_lent_worker_stays_where_runs_train_one_after_another(make: Callable[..., RunSession]) -> None:
    session = make("control.side_by_side=false")
    lent = WorkerProcess(session.run.config, session.run.base.location, session.run.home, will_train=True)
    session = RunSession(session.run, lent_worker=lent)
    run_for_all(STAGES["train"], [session], lambda entry, some: {})
    assert session.worker is lent, "else a second engine would start beside it"


@pytest.mark.parametrize("side_by_side", [True, False])
def test_how_a_run_and_its_control_take_turns(home: Path, configs: Path, side_by_side: bool) -> None:
    overrides = ["control.enabled=true", "control.rollout_limit_tokens=128", f"control.side_by_side={side_by_side}".lower()]
    sessions = sessions_of(load_config(configs / "smoke.toml", overrides))
    together = threading.Barrier(2, timeout=10.0)
    turns: list[tuple[str, str]] = []

    def do(entry: StageEntry, some: Sequence[RunSession]) -> Summary:
        if entry.runs == "side by side" and side_by_side:
            together.wait()
        turns.append((entry.name, "+".join(session.run.config.name for session in some)))
        return {"report": "page.html"}

    outcome = run_whole(sessions, do)
    assert outcome == {"run_ids": [session.run.run_id for session in sessions], "report": "page.html"}
    expected = [(name, run) for name in ("profile", "filter", "train") for run in ("smoke", "smoke-control")]
    expected += [("evaluate", "smoke+smoke-control"), ("register", "smoke"), ("register", "smoke-control")]
    assert sorted(turns[4:6]) == expected[4:6]  # side by side, either may be first
    assert turns[:4] + turns[6:] == [*expected[:4], *expected[6:], ("report", "smoke+smoke-control")]


def test_side_by_side_one_that_fails_does_not_end_the_other(home: Path, configs: Path) -> None:
    overrides = ["control.enabled=true", "control.rollout_limit_tokens=128"]
    sessions = sessions_of(load_config(configs / "smoke.toml", overrides))
    has_failed, done = threading.Event(), []

    def do(entry: StageEntry, some: Sequence[RunSession]) -> Summary:
        if some[0] is sessions[0]:
            has_failed.set()
            raise ValueError("no whole checkpoint")
        has_failed.wait(10.0)
        done.append(some[0])
        return {}

    with pytest.raises(ValueError, match="no whole checkpoint"):
        run_for_all(STAGES["train"], sessions, do)
    assert done == sessions[1:]


@pytest.mark.parametrize("name", STAGES)
def test_every_line_of_the_table_has_a_room_with_words_for_its_deployment(name: str) -> None:
    room = STAGES[name].stage
    assert room.name == name
    assert (inspect.getdoc(type(room)) or "").startswith("**")
