"""How a model was judged, and how it is served accordingly: `laconic.json` of an exported folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pipeline_lib.config import RunConfig
from pipeline_lib.release.trained import Trained
from pipeline_lib.report.summary import hundredths, tokens_cell
from pipeline_lib.section import NonNegativeInt, PositiveFloat, PositiveInt, Section

if TYPE_CHECKING:
    from pipeline_lib.store.database import Store

FACTS_FILE = "laconic.json"
LARGEST_BYTES = 4 << 20
# A budget within so much of the accuracy at the largest one is as good.
AS_GOOD = 0.01
# Settings that may be paths.
NAMES_FILE = ("path", "file", "rollouts_file", "base_model", "model")
OF_THE_MACHINE = ("tracking", "fleet", "compute", "retrain")


class Point(Section):
    """A row of `budget_results`."""

    benchmark: str
    step: NonNegativeInt
    budget_tokens: PositiveInt
    mean_at_k: float
    pass_at_k: float
    ci_low: float
    ci_high: float
    mean_tokens: float
    truncated_fraction: float


class Judged(Section):
    """What is known of a trained model: where it is from, how it is asked and sampled, and what came of it."""

    run_id: str
    name: str
    step: NonNegativeInt
    version: str | None
    base_model: str
    dtype: str
    max_model_tokens: PositiveInt
    kv_cache_gib: PositiveFloat
    temperature: float
    top_p: float
    enable_thinking: bool | None
    points: tuple[Point, ...]
    config: dict[str, Any]

    @property
    def own_points(self) -> list[Point]:
        """Those of the trained model itself."""
        return [point for point in self.points if point.step == self.step]

    @property
    def largest_budget(self) -> int:
        budgets: list[int] = self.config["evaluate"]["budgets_tokens"]
        return max(budgets)

    @property
    def recommended_tokens(self) -> int:
        """The smallest budget within a point of the mean accuracy at the largest one; the largest where nothing was judged."""
        accuracy: dict[int, list[float]] = {}
        for point in self.own_points:
            accuracy.setdefault(point.budget_tokens, []).append(point.mean_at_k)
        means = {budget: sum(values) / len(values) for budget, values in accuracy.items()}
        enough = [budget for budget, mean in means.items() if mean >= means[max(means)] - AS_GOOD]
        return min(enough, default=self.largest_budget)

    @property
    def recommendation(self) -> str:
        """One line on `max_tokens`."""
        if not self.own_points:
            return f"max_tokens = {self.recommended_tokens}: the limit of its evaluation, which has not been done"
        return (
            f"max_tokens = {self.recommended_tokens}: the smallest budget it was judged at that is within a point of its accuracy at "
            f"{self.largest_budget}"
        )

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Columns and rows: accuracy in percent at every budget."""
        rows = [
            [
                point.benchmark,
                str(point.budget_tokens),
                f"{hundredths(point.mean_at_k)} ({hundredths(point.ci_low)}–{hundredths(point.ci_high)})",
                tokens_cell(point.mean_tokens),
            ]
            for point in self.own_points
        ]
        return ["benchmark", "token budget", "accuracy % (95 %)", "mean tokens"], rows


def judged(store: "Store", trained: Trained) -> Judged:
    """What the store says of a trained model and its base. No path of this machine, server or password is in it."""
    config = trained.run.config
    rows = store.named("budget_table", run_ids=[trained.run.run_id])
    return Judged(
        run_id=trained.run.run_id,
        name=config.name,
        step=trained.step,
        version=trained.version,
        base_model=trained.row["base_model"],
        dtype=config.generation.dtype,
        max_model_tokens=config.generation.max_prompt_tokens + max(config.evaluate.budgets_tokens),
        kv_cache_gib=config.generation.kv_cache_gib,
        temperature=config.evaluate.temperature,
        top_p=config.evaluate.top_p,
        enable_thinking=config.evaluate.benchmarks[0].enable_thinking,
        points=_points(rows, (0, trained.step)),
        config=public_settings(config),
    )


def _points(rows: Sequence[dict[str, Any]], steps: tuple[int, ...]) -> tuple[Point, ...]:
    names = Point.model_fields
    return tuple(Point(**{name: row[name] for name in names}) for row in rows if row["step"] in steps)


def public_settings(config: RunConfig) -> dict[str, Any]:
    """The settings that say how a model was made, files by their names alone."""
    settings = config.model_dump(mode="json", exclude=set(OF_THE_MACHINE))
    cleaned: dict[str, Any] = _without_folders(settings)
    return cleaned


def _without_folders(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _without_folders(part, name) for name, part in value.items()}
    if isinstance(value, list):
        return [_without_folders(part, key) for part in value]
    is_path = key in NAMES_FILE and isinstance(value, str) and value.startswith(("/", "~", "."))
    return Path(value).name if is_path else value


def read_judged(folder: Path) -> Judged | None:
    """What an exported folder says of itself; None for a folder without it. Raises ValueError for one that is broken."""
    path = folder / FACTS_FILE
    if not path.is_file() or path.is_symlink():
        return None
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise ValueError("is too large")
        return Judged.model_validate_json(path.read_bytes())
    except (ValidationError, ValueError) as error:
        raise ValueError(f"{path} is not what an export has written: export the model again") from error
