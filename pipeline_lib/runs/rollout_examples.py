"""Looks at single rollouts: one beside its counterparts before and after training, and which of a run are worth a look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline_lib.runs.run_names import resolve_run
from pipeline_lib.store.database import Store

NEAR = 5
# How many of a kind a run's list has, and of a prompt's other rollouts.
OF_A_KIND = 3
OTHERS = 16

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ShownRollout:
    """A rollout whole (the columns of `rollouts`, and problem, reference_answer, domain), and what it is beside the others."""

    role: str
    row: Row


@dataclass(frozen=True, slots=True)
class RolloutView:
    """The rollouts that stand side by side, in the order of training; `others` are more of the same prompt, without texts."""

    shown: Sequence[ShownRollout]
    others: Sequence[Row] = ()


@dataclass(frozen=True, slots=True)
class Interesting:
    """A rollout that is worth a look: why, its id, its tokens and verdict, and those before training where it was evaluated."""

    why: str
    rollout_id: str
    num_tokens: int
    correct: bool
    tokens_before: int | None = None


def view_rollout(store: Store, rollout_id: str, beside: str | None = None) -> RolloutView:
    """A rollout next to its counterparts, or to the rollout `beside`.

    An evaluated one stands with the same sample of the model before training and of the run's last model; one of training or
    profiling with what the store has of its prompt. The run in an id may be a name or a unique beginning. Raises ValueError
    with the nearest ids when there is no such rollout.
    """
    row = _find(store, rollout_id)
    if beside is not None:
        other = _find(store, beside)
        return RolloutView([ShownRollout(_place(each), each) for each in (row, other)])
    key = {name: row[name] for name in ("run_id", "source", "prompt_id")}
    if row["stage"] == "evaluate":
        counterparts = store.named("evaluated_counterparts", **key, sample_index=row["sample_index"])
        ends = {each["rollout_id"] for each in (*counterparts[:1], *counterparts[-1:])}
        return RolloutView(_side_by_side(store, row, ends))
    others = store.named("rollouts_of_prompt", **key)
    chosen = [_nearest_sample(others, row, stage) for stage in ("profile", "train")]
    shown = _side_by_side(store, row, {each for each in chosen if each})
    ids = {each.row["rollout_id"] for each in shown}
    return RolloutView(shown, [other for other in others if other["rollout_id"] not in ids])


def _side_by_side(store: Store, row: Row, rollout_ids: set[str]) -> list[ShownRollout]:
    found = [each for rollout_id in sorted(rollout_ids - {row["rollout_id"]}) for each in rollout_of_id(store, rollout_id)]
    same = [other for other in found if other["source"] == row["source"]]
    ordered = sorted([row, *same], key=lambda each: (each["stage"] == "train", each["step"]))
    return [ShownRollout(_place(each), each) for each in ordered]


def _nearest_sample(others: Sequence[Row], row: Row, stage: str) -> str | None:
    """Of the other stage the rollout with the same number, of training one of the last step; None for the rollout's own step."""
    own = [other for other in others if other["stage"] == stage]
    last = max((other["step"] for other in own), default=0)
    own = [other for other in own if other["step"] == last]
    if not own or (stage, last) == (row["stage"], row["step"]):
        return None
    return str(min(own, key=lambda other: abs(other["sample_index"] - row["sample_index"]))["rollout_id"])


def _place(row: Row) -> str:
    if row["stage"] == "train":
        return f"in training, step {row['step']}"
    if row["step"] == 0:
        return "before training" if row["stage"] == "evaluate" else "before training (profile)"
    return f"after training step {row['step']}"


def _find(store: Store, rollout_id: str) -> dict[str, Any]:
    word, _, rest = rollout_id.partition("/")
    run_id = resolve_run(word, store.named("named_runs"))
    wanted = f"{run_id}/{rest}"
    if found := rollout_of_id(store, wanted):
        return found[0]
    near = [row["rollout_id"] for row in store.named("near_rollout_ids", run_id=run_id, rollout_id=wanted, count=NEAR)]
    hint = f"; the nearest are {', '.join(near)}" if near else f": run {run_id} has no rollouts of its own"
    raise ValueError(f"no rollout {wanted!r}{hint} ('laconic show {run_id}' lists some)")


def rollout_of_id(store: Store, rollout_id: str) -> list[dict[str, Any]]:
    """The rollout whole (of each source that has this prompt_id), with its problem; empty where there is none."""
    return store.named("rollout_of_id", run_id=rollout_id.partition("/")[0], rollout_id=rollout_id)


def interesting_rollouts(store: Store, word: str) -> tuple[str, list[Interesting]]:
    """The run that `word` means, and a few of its rollouts: longest, shortest correct, fixed and broken by training.

    Of an evaluated run, rollouts of its last model; of another, of whatever it has. Raises ValueError when it has none.
    """
    run_id = resolve_run(word, store.named("named_runs"))
    samples = store.named("evaluated_samples", run_ids=[run_id])
    last = max((row["step"] for row in samples), default=0)
    if last > 0:
        before = {_sample(row): row for row in samples if row["step"] == 0}
        return run_id, pick_interesting(before, [row for row in samples if row["step"] == last])
    rows = store.named("rollout_lengths_of_run", run_id=run_id, count=OF_A_KIND)
    if not rows:
        raise ValueError(f"run {run_id!r} has no rollouts of its own: it was not sampled, or took over what another run has")
    return run_id, [Interesting(row["kind"], row["rollout_id"], row["num_tokens"], row["correct"]) for row in rows]


def _sample(row: Row) -> tuple[str, str, int]:
    return row["benchmark"], row["prompt_id"], row["sample_index"]


def pick_interesting(before: Mapping[tuple[str, str, int], Row], after: Sequence[Row]) -> list[Interesting]:
    """A few responses of each kind, one a prompt. `before` by benchmark, prompt and sample; rows as of the query `evaluated_samples`."""
    shortest_first = sorted(after, key=lambda row: (row["num_tokens"], row["rollout_id"]))
    flipped = [row for row in shortest_first if _sample(row) in before and before[_sample(row)]["correct"] != row["correct"]]
    flipped.sort(key=lambda row: row["num_tokens"] - before[_sample(row)]["num_tokens"])  # what got shorter most comes first
    kinds: dict[str, list[Row]] = {
        "longest": shortest_first[::-1],
        "shortest correct": [row for row in shortest_first if row["correct"]],
        "fixed by training": [row for row in flipped if row["correct"]],
        "broken by training": [row for row in flipped if not row["correct"]],
    }
    return [
        Interesting(
            why,
            row["rollout_id"],
            row["num_tokens"],
            row["correct"],
            before[_sample(row)]["num_tokens"] if _sample(row) in before else None,
        )
        for why, rows in kinds.items()
        for row in _first_of_each_prompt(rows)[:OF_A_KIND]
    ]


def _first_of_each_prompt(rows: Sequence[Row]) -> list[Row]:
    found: dict[str, Row] = {}
    for row in rows:
        found.setdefault(row["prompt_id"], row)
    return list(found.values())
