"""What a report is made from: plain rows with the column names of the SQL contract, and which model each row belongs to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pipeline_lib.preview.comparison import Preview

Row = Mapping[str, Any]
LOST = ("died", "hung")  # kinds of fleet_events
Role = Literal["before", "after", "control"]

# Okabe and Ito's colours (safe for colour-blind readers); a second and third control take the last two.
BEFORE_COLOUR = "#7F858D"
AFTER_COLOUR = "#0072B2"
CONTROL_COLOURS = ("#DE7A00", "#CC79A7", "#009E73")


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What is known about the run as a whole. `details` are further name and value pairs for the page's foot."""

    run_id: str
    name: str
    base_model: str
    status: str
    started_at: datetime | None = None
    duration_seconds: float | None = None
    target_tokens: int | None = None
    config_text: str = ""
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunSeries:
    """One run's training: rows of `training_steps`. `label` names what differs, such as its reward."""

    run_id: str
    label: str
    role: Literal["main", "control"]
    training_steps: Sequence[Row] = ()


@dataclass(frozen=True, slots=True)
class ExtraTable:
    """A table of the caller's own; numbers are shown as they are given when they are text already."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""


@dataclass(frozen=True)
class FleetRecord:
    """Rows of `fleet_events`, and of `fleet_shares` for some steps, in order of time; `lags`: policy_lag, num_rollouts."""

    events: Sequence[Row]
    shares: Sequence[Row]
    lags: Sequence[Row] = ()

    @cached_property
    def steps(self) -> list[tuple[datetime, datetime, int]]:
        """When each step began and ended, and its batch."""
        return list(dict.fromkeys((row["step_began_at"], row["step_ended_at"], row["batch"]) for row in self.shares))

    @cached_property
    def actors(self) -> list[str]:
        """Those that were there in these steps: generators, then the trainer's ranks."""
        return sorted(
            {row["actor"] for row in self.shares},
            key=lambda actor: (actor.startswith("trainer"), int(actor.rpartition("-")[2])),
        )

    @property
    def losses(self) -> list[Row]:
        """Actors that died or hung, ever."""
        return [event for event in self.events if event["kind"] in LOST]


@dataclass(frozen=True, slots=True)
class ReportData:
    """Everything a report shows; whatever is empty is named in a sentence instead.

    `budget_results`: rows of that table for all runs of `series`; `length_samples`: run_id, step, benchmark, correct,
    num_tokens, one row per response; `anatomy`: rows of the query `anatomy_of_runs`; `pass_rates`: one number per profiled
    prompt; `stage_durations`: stage, seconds and, optionally, reused_from. In all of them step 0 is the model before training.
    `rollout_pairs`: responses to the same problem before and after training. `preview`: first steps from the profile.
    `fleet`: what the actors of a Ray fleet did, if there was one.
    """

    run: RunFacts
    series: Sequence[RunSeries] = ()
    budget_results: Sequence[Row] = ()
    length_samples: Sequence[Row] = ()
    pass_rates: Sequence[float] = ()
    stage_durations: Sequence[Row] = ()
    rollout_pairs: Sequence[tuple[Row, Row]] = ()
    extra_tables: Sequence[ExtraTable] = ()
    notes: Sequence[str] = ()
    preview: "Preview | None" = None
    fleet: FleetRecord | None = None
    anatomy: Sequence[Row] = ()


@dataclass(frozen=True, slots=True)
class Model:
    """One model of the comparison and its rows of one table."""

    role: Role
    label: str
    colour: str
    step: int
    rows: tuple[Row, ...]

    def on(self, benchmark: str) -> "Model":
        """The same model with its rows of one benchmark."""
        return replace(self, rows=tuple(row for row in self.rows if str(row.get("benchmark", "")) == benchmark))


def series_colour(series: Sequence[RunSeries], wanted: RunSeries) -> str:
    if wanted.role == "main":
        return AFTER_COLOUR
    controls = [item.run_id for item in series if item.role == "control"]
    return CONTROL_COLOURS[controls.index(wanted.run_id) % len(CONTROL_COLOURS)]


def compared_models(series: Sequence[RunSeries], rows: Sequence[Row]) -> list[Model]:
    """Split rows with `run_id` and `step` into the base (step 0) and each run's last step; runs without rows are left out."""
    ordered = sorted(series, key=lambda item: item.role != "main")
    models: list[Model] = []
    for item in ordered:
        own = [row for row in rows if row["run_id"] == item.run_id]
        base = tuple(row for row in own if row["step"] == 0)
        if base and not any(model.role == "before" for model in models):
            models.insert(0, Model("before", "before RL", BEFORE_COLOUR, 0, base))
        if last := last_trained(own):
            role: Role = "after" if item.role == "main" else "control"
            label = f"after RL ({item.label})" if item.role == "main" else f"control ({item.label})"
            models.append(Model(role, label, series_colour(series, item), last[0]["step"], tuple(last)))
    return models


def grouped(rows: Sequence[Row], column: str) -> dict[Any, list[Row]]:
    """The rows by what they have in a column."""
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(row[column], []).append(row)
    return groups


def last_trained(rows: Sequence[Row]) -> list[Row]:
    """The rows of the highest step; none where that is the model before training (step 0)."""
    last = max((row["step"] for row in rows), default=0)
    return [row for row in rows if row["step"] == last > 0]


def benchmark_names(rows: Sequence[Row]) -> list[str]:
    """The benchmarks in the order of their first row."""
    return list(dict.fromkeys(str(row.get("benchmark", "")) for row in rows))
