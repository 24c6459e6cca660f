"""Pictures of a fleet: what each actor did in a step, and over all steps how busy it was, the queue, weights and lags."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline_lib.report.canvas import COLOURS, GRID, INK, WIDTH_INCHES, colour_legend, percent_axis, styled
from pipeline_lib.report.data import LOST, FleetRecord, Row, grouped
from pipeline_lib.report.fleet import PARTS, batches, end, start, version_step

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOST_COLOUR = COLOURS[1]
COLOUR_OF = {kind: colour for _, _, kinds, colour in PARTS for kind in kinds}
MARGIN = 0.05  # of a step's length, shown before and after it
ROW_INCHES = 0.24


@styled
def fleet_steps(fleet: FleetRecord) -> "Figure":
    """What every actor did in the step of median length, in the longest one, and in that of the last loss."""
    from matplotlib.figure import Figure

    by_length = sorted(fleet.steps, key=lambda step: step[1] - step[0])
    median, longest = by_length[(len(by_length) - 1) // 2], by_length[-1]
    shown = {median: f"the median of {len(by_length)}", longest: f"the longest of {len(by_length)}"}
    lost_at = [event["happened_at"] for event in fleet.losses]
    shown |= {step: "the last with a loss" for step in fleet.steps if any(step[0] < at < step[1] for at in lost_at[-1:])}
    height = (ROW_INCHES * len(fleet.actors) + 0.75) * len(shown) + 0.35
    figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
    for panel, (step, name) in zip(figure.subplots(len(shown), 1, squeeze=False)[:, 0], shown.items(), strict=True):
        _draw_step(panel, fleet, step)
        length = (step[1] - step[0]).total_seconds()
        panel.set_title(f"Step of batch {step[2]}, {name}: {length:.3g} s")
    panel.set_xlabel("seconds since the update before (numbers: the batch)")
    colour_legend(figure, [*((name, colour) for name, _, _, colour in PARTS), ("lost", LOST_COLOUR)])
    return figure


def _draw_step(panel: "Axes", fleet: FleetRecord, step: tuple[datetime, datetime, int]) -> None:
    began, ended = step[0].timestamp(), step[1].timestamp()
    low, high = began - MARGIN * (ended - began), ended + MARGIN * (ended - began)
    shares = {row["actor"]: row for row in fleet.shares if row["step_began_at"] == step[0]}
    rows = {actor: row for row, actor in enumerate(actor for actor in fleet.actors if actor in shares)}
    bars: dict[int, list[tuple[float, float, set[Any], str]]] = {row: [] for row in rows.values()}
    for event in fleet.events:
        if event["actor"] not in rows or end(event) < low or start(event) > high:
            continue
        row = rows[event["actor"]]
        if event["kind"] in LOST:
            panel.plot(start(event) - began, row, marker="X", color=LOST_COLOUR, markersize=8, zorder=4)
        colour = COLOUR_OF.get(event["kind"])
        if colour is None:
            continue
        left, right, batches = max(start(event), low) - began, min(end(event), high) - began, {event["batch"]}
        if bars[row] and bars[row][-1][3] == colour and left < bars[row][-1][1]:  # batches that are generated together
            before = bars[row].pop()
            left, right, batches = before[0], max(before[1], right), before[2] | batches
        bars[row].append((left, right, batches, colour))
    for row, left, right, batches, colour in ((row, *bar) for row, some in bars.items() for bar in some):
        panel.barh(row, right - left, left=left, height=0.74, color=colour, edgecolor="white", linewidth=0.6)
        if right - left > 0.02 * (high - low):
            text = ", ".join(str(batch) for batch in sorted(batches - {None}))
            panel.text((left + right) / 2, row, text, ha="center", va="center", fontsize=8, color=INK)
    for actor, row in rows.items():
        share = shares[actor]["busy_seconds"] / shares[actor]["seconds"]
        panel.text(1.005, row, f"{100 * share:.0f} % busy", transform=panel.get_yaxis_transform(), va="center", fontsize=8.5)
    for border in (0, ended - began):
        panel.axvline(border, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    panel.set_yticks(list(rows.values()), list(rows))
    panel.tick_params(axis="y", length=0, labelcolor=INK)
    panel.grid(axis="y", visible=False)
    panel.set(xlim=(low - began, high - began), ylim=(len(rows) - 0.4, -0.6))


@styled
def fleet_course(fleet: FleetRecord) -> "Figure":
    """Over the steps how busy each actor was, batches in the queue, weights held; and how old the rollouts were."""
    from matplotlib.figure import Figure

    height = max(1.0, ROW_INCHES * len(fleet.actors)) + 0.8
    figure = Figure(figsize=(WIDTH_INCHES, height + 2.7), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=[height, 2.7])
    _draw_busy(parts[0], fleet)
    queue, versions, lags = parts[1].subplots(1, 3)
    numbers = np.arange(1, len(fleet.steps) + 1)
    for values, name, colour in zip(zip(*batches(fleet), strict=True), ("being generated", "ready"), COLOURS, strict=False):
        queue.plot(numbers, values, color=colour, marker="o" if len(numbers) <= 12 else None, markersize=3.5, label=name)
    queue.set_title("Batches not trained on")
    queue.legend(fontsize=8, ncols=2, loc="upper left")
    queue.set_ylim(0, 1.25 * queue.get_ylim()[1])
    _draw_versions(versions, fleet)
    for panel in (queue, versions):
        panel.set_xlabel("step")
        panel.xaxis.get_major_locator().set_params(integer=True)
    total = sum(row["num_rollouts"] for row in fleet.lags)
    lags.bar(
        [row["policy_lag"] for row in fleet.lags], [100 * row["num_rollouts"] / total for row in fleet.lags], color=COLOURS[0]
    )
    lags.set_title("Policy lag of the rollouts")
    lags.set_xlabel("optimiser steps")
    lags.xaxis.get_major_locator().set_params(integer=True)
    percent_axis(lags)
    return figure


def _draw_busy(figure: Any, fleet: FleetRecord) -> None:
    panel = figure.subplots()
    places = {step[0]: place for place, step in enumerate(fleet.steps)}
    busy = np.full((len(fleet.actors), len(places)), np.nan)
    for row in fleet.shares:
        busy[fleet.actors.index(row["actor"]), places[row["step_began_at"]]] = 100 * row["busy_seconds"] / row["seconds"]
    edges = np.arange(len(places) + 1) + 0.5
    image = panel.pcolormesh(edges, np.arange(len(fleet.actors) + 1) - 0.5, busy, cmap="Blues", vmin=0, vmax=100)
    if busy.shape[1] <= 20:
        for (row, column), share in np.ndenumerate(busy):
            if share == share:
                colour = "white" if share > 60 else INK
                panel.text(column + 1, row, f"{share:.0f}", ha="center", va="center", fontsize=8, color=colour)
    lost = [event for event in fleet.losses if event["actor"] in fleet.actors]
    rows = [fleet.actors.index(event["actor"]) for event in lost]
    panel.plot(_places(fleet, lost), rows, marker="X", color=LOST_COLOUR, markersize=8, linestyle="none")
    panel.set_title("Busy share of each step (%)")
    panel.set_facecolor(GRID)
    panel.set_xlabel("step")
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.set_yticks(range(len(fleet.actors)), fleet.actors)
    panel.set_ylim(len(fleet.actors) - 0.5, -0.5)
    panel.tick_params(axis="y", length=0, labelcolor=INK)
    panel.grid(visible=False)
    figure.colorbar(image, ax=panel, pad=0.01, aspect=12)


def _places(fleet: FleetRecord, events: Sequence[Row]) -> "np.ndarray[Any, Any]":
    """Where on an axis of steps events ended, step 1 being from 0.5 to 1.5; what is between steps is not on it."""
    times = [border.timestamp() for step in fleet.steps for border in step[:2]]
    places = [number + half for number in range(1, len(fleet.steps) + 1) for half in (-0.5, 0.5)]
    return np.interp([end(event) for event in events], times, places)


def _draw_versions(panel: "Axes", fleet: FleetRecord) -> None:
    loads = grouped([event for event in fleet.events if event["kind"] == "loaded"], "actor")
    for number, actor in enumerate(generators := [actor for actor in fleet.actors if actor in loads]):
        steps = {at: step for at, event in enumerate(loads[actor]) if (step := version_step(event["version"])) is not None}
        places = _places(fleet, [loads[actor][at] for at in steps])
        panel.step(places, list(steps.values()), where="post", color=COLOURS[number % len(COLOURS)], linewidth=1.2, label=actor)
    panel.set_title("Weights each engine holds")
    panel.set_ylabel("of step")
    if len(generators) <= 4:
        panel.legend(fontsize=8)
