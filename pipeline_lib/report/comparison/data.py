"""What the comparison of runs is made from: plain rows per run, and how each run looks in every figure and table."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline_lib.evaluation.paired_comparison import Interval
from pipeline_lib.report.canvas import COLOURS, INK
from pipeline_lib.report.data import Row, benchmark_names, last_trained
from pipeline_lib.report.finding import BASE_STYLES, LINE_STYLES, Stroke


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """One run. `key` is its letter; `budgets` are its rows of budget_results, all steps, step 0 being its base model.

    `config` is the resolved configuration, `curve` its rows of training_steps, `alarms` and `phases` those tables' rows.
    """

    key: str
    run_id: str
    label: str
    look: Stroke
    base_model: str
    status: str
    config: Mapping[str, Any] = field(default_factory=dict)
    control_of: str | None = None
    curve: Sequence[Row] = ()
    alarms: Sequence[Row] = ()
    phases: Sequence[Row] = ()
    budgets: Sequence[Row] = ()

    @property
    def name(self) -> str:
        return f"{self.key}  {self.label}"

    @property
    def named_look(self) -> Stroke:
        return replace(self.look, label=self.name)

    @property
    def steps(self) -> list[int]:
        """Training steps whose model was evaluated, rising."""
        return sorted({row["step"] for row in self.budgets if row["step"] > 0})

    def rows_at(self, step: int) -> list[Row]:
        return [row for row in self.budgets if row["step"] == step]

    @property
    def last_rows(self) -> list[Row]:
        """Rows of budget_results of the last evaluated model; empty when only the base was evaluated, or nothing."""
        return last_trained(self.budgets)


@dataclass(frozen=True, slots=True)
class ComparedBase:
    """A model that some of the runs start from, with its rows of budget_results (step 0)."""

    label: str
    look: Stroke
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Example:
    """One problem with the responses of the base and of every run; `why` says what it was chosen for.

    A response is the label of its model and its row of `rollouts`.
    """

    problem: str
    answer: str
    why: str
    responses: Sequence[tuple[str, Row]]


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """A run minus the first run on the prompts that both answered, with 95 % intervals: accuracy by budget, and mean tokens."""

    key: str
    benchmark: str
    num_prompts: int
    accuracy: Mapping[int, Interval]
    tokens: Interval


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that the page shows. The first run is what the others are compared with."""

    runs: Sequence[ComparedRun]
    differences: Sequence[PairedDifference] = ()
    examples: Sequence[Example] = ()
    examples_benchmark: str = ""

    @property
    def bases(self) -> list[ComparedBase]:
        """The base models of the runs; each benchmark's rows are those of the first run that has them."""
        found: dict[str, dict[str, Sequence[Row]]] = {}
        for run in self.runs:
            own = found.setdefault(run.base_model, {})
            rows = run.rows_at(0)
            for benchmark in benchmark_names(rows):
                own.setdefault(benchmark, [row for row in rows if row["benchmark"] == benchmark])
        named = {label: [row for rows in own.values() for row in rows] for label, own in found.items()}
        named = {label: rows for label, rows in named.items() if rows}
        return [
            ComparedBase(label, Stroke("before RL" if len(named) == 1 else f"before RL ({label})", INK, style), rows)
            for (label, rows), style in zip(named.items(), itertools.cycle(BASE_STYLES), strict=False)
        ]

    @property
    def benchmarks(self) -> list[str]:
        return benchmark_names([row for run in self.runs for row in run.budgets])


def run_keys(count: int) -> list[str]:
    """A, B, …, Z, AA, AB, …: a letter per run."""
    letters = [chr(ord("A") + place) for place in range(26)]
    longer = ("".join(pair) for pair in itertools.product(letters, repeat=2))
    return list(itertools.islice(itertools.chain(letters, longer), count))


def run_looks(labels: Sequence[str]) -> list[Stroke]:
    """A colour per run; beyond the palette the colours come again, dashed and then dotted."""
    looks = itertools.cycle(itertools.product(LINE_STYLES, COLOURS))
    return [Stroke(label, colour, style) for label, (style, colour) in zip(labels, looks, strict=False)]
