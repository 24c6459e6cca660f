"""The laws that the fleet's simulation has to keep, whatever its constants are."""

from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pytest

from benchmarks import fleet_simulation
from benchmarks.fleet_model import DATA, LOGNORMAL, Engine, Lengths, Machine, Speed, deal_lengths
from benchmarks.fleet_simulation import Fleet, lengths_of, main, read
from pipeline_lib.memory import architecture_of

CONFIG = read("qwen3-4b-instruct")
MODEL = architecture_of(CONFIG.base_model)
SPEED = Speed.of(CONFIG, MODEL, Machine(), 8, alone=True)
DIVISIONS = pytest.mark.parametrize("division", [(1, 7), (6, 2), (7, 1)])


def fleet_of(rollouts: int = 24, steps: int = 10, same: bool = True) -> Fleet:
    """Eight GPUs; every rollout has the same length, or lengths are drawn."""
    drawn = lengths_of(CONFIG, Lengths(DATA / "absent"), 0.5, steps)
    lengths = [np.full((42, rollouts), 2000) for _ in drawn] if same else [each[:, :rollouts] for each in drawn]
    return Fleet(CONFIG, MODEL, 8, lengths, Machine())


@DIVISIONS
@pytest.mark.parametrize("layout", ["split", "in_flight"])
def test_without_batches_ahead_a_step_is_generation_and_grading_and_update_and_push(division, layout):
    fleet = fleet_of()
    parts = max(fleet.drained(division[0])[0]) + max(fleet.updates(division[1])[0]) + fleet.push + fleet.machine.grade_seconds
    assert getattr(fleet, layout)(division, 0).step_seconds == pytest.approx(parts, rel=1e-9)


def test_a_colocated_step_is_all_of_that_and_sleeping_and_waking():
    fleet = fleet_of()
    step = fleet.colocated(0).step_seconds - fleet.push - fleet.machine.sleep_wake_seconds - fleet.machine.grade_seconds
    speed = Speed.of(CONFIG, MODEL, fleet.machine, 8, alone=False)
    generation = []
    for share in deal_lengths(fleet.lengths[0], 8):
        engine = Engine(speed)
        engine.submit(0.0, 0, share)
        generation.append(engine.finish(0))
    assert step == pytest.approx(max(generation) + max(fleet.updates(8)[0]), rel=1e-9)


@DIVISIONS
def test_far_ahead_a_step_is_the_longer_of_generation_and_update(division):
    fleet = fleet_of()
    longer = max(max(fleet.drained(division[0])[0]), max(fleet.updates(division[1])[0])) + fleet.push
    assert fleet.split(division, 20).step_seconds == pytest.approx(longer, rel=1e-9)
    assert fleet.in_flight(division, 20).step_seconds == pytest.approx(longer, rel=0.1)
    found = fleet_of(same=False).split(division, 20)
    assert min(found.generators_idle, found.trainers_idle) < 0.15


@pytest.mark.parametrize("capacity", [20_000, 60_000, 400_000])
def test_every_token_is_generated_once_though_rollouts_are_given_up_and_engines_stand_still(capacity):
    engine = Engine(replace(SPEED, cache_tokens=capacity))
    draws = np.random.default_rng(0)
    sent = 0
    for batch in range(4):
        lengths = draws.integers(1, 8192, 60).tolist()
        sent += sum(lengths)
        engine.submit(40.0 * batch, batch, lengths)
        engine.pause(40.0 * batch + 10, 5.0, loses_cache=batch % 2 == 1)
    ends = [engine.finish(batch) for batch in range(4)]
    assert engine.tokens == sent
    assert sum(engine.left.values()) == 0
    assert max(ends) == engine.now == pytest.approx(max(engine.ended.values()))
    assert engine.busy_seconds == pytest.approx(engine.now - 4 * 5.0)


@pytest.mark.parametrize("seed", range(5))
def test_more_cache_is_never_slower(seed):
    lengths = np.random.default_rng(seed).integers(1, 8192, 300).tolist()
    seconds = []
    for capacity in (10_000, 20_000, 50_000, 100_000, 200_000, 400_000, 10**7):
        engine = Engine(replace(SPEED, cache_tokens=capacity))
        engine.submit(0.0, 0, lengths)
        seconds.append(engine.finish(0))
    assert all(more <= less * 1.001 for less, more in pairwise(seconds))
    assert seconds[-1] < seconds[0] / 3


@pytest.mark.parametrize("ahead", [0, 1, 2])
@pytest.mark.parametrize("layout", ["colocated", "in_flight"])
def test_batches_are_dispatched_and_trained_in_order_and_none_comes_too_early(monkeypatch, ahead, layout):
    fleet, sent = fleet_of(same=False), []
    dispatch = Fleet._dispatch
    monkeypatch.setattr(Fleet, "_dispatch", lambda self, *given: (sent.append(given[1:]), dispatch(self, *given)))
    found = fleet.colocated(ahead) if layout == "colocated" else fleet.in_flight((6, 2), ahead)
    assert [batch for _, batch in sent] == list(range(len(fleet.lengths) + ahead + 1))
    assert all(at >= found.trained[batch - ahead - 1] for at, batch in sent[ahead + 1 :])
    assert {at for at, _ in sent[: ahead + 1]} == {0.0}
    updates = [max(ranks) for ranks in fleet.updates(found.division[1])]
    assert all(after - before >= update for (before, after), update in zip(pairwise(found.trained), updates[1:], strict=True))


def test_further_ahead_is_not_slower_and_all_idle_shares_are_shares():
    fleet = fleet_of(same=False)
    for layout in (fleet.colocated, lambda ahead: fleet.split((6, 2), ahead), lambda ahead: fleet.in_flight((6, 2), ahead)):
        found = [layout(ahead) for ahead in (0, 1, 2)]
        assert found[0].step_seconds > found[1].step_seconds >= found[2].step_seconds * 0.95
        assert all(0 <= idle <= 1 for each in found for idle in (each.idle, each.generators_idle, each.trainers_idle))


def test_decoding_many_steps_is_the_sum_of_its_steps():
    for sequences, cached in ((1, 10), (200, 1000), (256, 90_000), (2000, 10_000)):
        single = sum(SPEED.decode_seconds(sequences, cached + step * sequences, 1) for step in range(700))
        assert SPEED.decode_seconds(sequences, cached, 700) == pytest.approx(single, rel=1e-3)


def test_engines_get_all_rollouts_and_as_many_each():
    lengths = np.arange(32 * 24).reshape(32, 24)
    for engines in (1, 7, 8, 64):
        shares = deal_lengths(lengths, engines)
        assert sorted(chain(*shares)) == list(range(32 * 24))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
        assert len(deal_lengths(lengths, engines)[0]) == -(-32 * 24 // engines)
    assert deal_lengths(lengths, 8)[3] == list(range(3, 32 * 24, 8))
    assert deal_lengths(lengths, 16, whole_groups=True)[3] == [*lengths[3], *lengths[19]]


@pytest.mark.skipif(not Lengths().groups, reason="no recorded rollouts")
def test_the_lognormal_is_that_of_the_recordings():
    logs = [np.log(group) for group in Lengths().groups]
    within = (sum(((each - each.mean()) ** 2).sum() for each in logs) / sum(len(each) - 1 for each in logs)) ** 0.5
    means = np.array([each.mean() for each in logs])
    between = (means.var(ddof=1) - within**2 * np.mean([1 / len(each) for each in logs])) ** 0.5
    assert (np.concatenate(logs).mean(), between, within) == pytest.approx(LOGNORMAL, abs=0.006)
    drawn = np.log(Lengths(DATA / "absent").draw(4000, 24, [0]))
    assert (drawn.mean(), drawn.std()) == pytest.approx((LOGNORMAL[0], np.hypot(*LOGNORMAL[1:])), rel=0.05)


def test_the_tables_say_that_they_are_simulated(monkeypatch, capsys):
    monkeypatch.setattr(fleet_simulation, "GPUS", (8,))
    monkeypatch.setattr(fleet_simulation, "STEPS", 6)
    monkeypatch.setattr("sys.argv", ["fleet_simulation.py", "--configs", "qwen3-4b-instruct", "--median-share", "0.1"])
    main()
    printed = capsys.readouterr().out
    assert printed.startswith("Simulated, not measured.")
    assert printed.count("| qwen3-4b-instruct | 1 x 8 |") == 3
    assert "| verl, one step off |" in printed


@pytest.mark.skipif(not Lengths().groups, reason="no recorded rollouts")
def test_the_page_shows_what_the_script_prints(monkeypatch, capsys):
    monkeypatch.setattr(fleet_simulation, "GPUS", (8,))
    monkeypatch.setattr("sys.argv", ["fleet_simulation.py", "--configs", "r1-distill-1.5b"])
    main()
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| r1-distill-1.5b | 1 x 8 |")]
    page = (Path(__file__).parents[2] / "docs" / "explanation" / "fleet.md").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 3 and [row for row in rows if row not in page] == []
