"""The campaign: ROUNDS rounds of the SEED from the one numbered FIRST (docs/howto/fault-campaign.md)."""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import cpu_seconds
from faults import play
from lane import Lane
from plans import Plan, draw

SEED, FIRST, ROUNDS = (int(os.environ.get(name) or default) for name, default in (("SEED", 0), ("FIRST", 0), ("ROUNDS", 8)))
PLANS = [draw(SEED, number) for number in range(FIRST, FIRST + ROUNDS)]


def round_of(plan: Plan) -> Any:
    """Rounds of a variant go to one lane: to prepare one takes minutes."""
    marks = () if plan.variant == "plain" else pytest.mark.xdist_group(plan.variant)
    return pytest.param(plan, id=f"{plan.number}-{plan.fault}-{plan.command}", marks=marks)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("plan", [round_of(plan) for plan in PLANS])
def test_round(plan: Plan, lane: Lane, record_property: Callable[[str, Any], None]) -> None:
    print(plan)
    lane.prepare(plan.command, plan.variant)
    started, before = time.monotonic(), cpu_seconds()
    played = play(lane, plan)
    figures = {"cpu_seconds": cpu_seconds() - before, "seconds": time.monotonic() - started}
    names = {"number": plan.number, "fault": plan.fault, "variant": plan.variant}
    for name, value in {**names, **figures, "came": played.came, "broken": played.broken}.items():
        record_property(name, value)
    if not played.broken:
        return
    kept = Path(tempfile.gettempdir()) / f"laconic-chaos-kept-seed-{SEED}-round-{plan.number}"
    lane.keep(kept)
    again = f"make chaos ROUNDS=1 SEED={SEED} FIRST={plan.number}"
    told = "\n".join([str(plan), *(f"- {line}" for line in played.broken), f"kept: {kept}", f"again: {again}", ""])
    (kept / "violations.txt").write_text(told, encoding="utf-8")
    pytest.fail(told, pytrace=False)
