"""The page of a finding, from rows in a real store: numbers worked out by hand, honest about what is missing."""

import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline_lib.config import RunConfig
from pipeline_lib.experiments.advantage_table import positive_advantage
from pipeline_lib.experiments.metric_text import describe_metric
from pipeline_lib.experiments.metrics import curve_metrics, held_out_metrics
from pipeline_lib.experiments.page import arm_series, write_page
from pipeline_lib.experiments.results import collect_results
from pipeline_lib.experiments.specification import (
    EXPERIMENTS_FOLDER,
    ChildRun,
    ExperimentConfig,
    child_runs,
    experiment_names,
    load_experiment,
)
from pipeline_lib.records import Rollout, TrainingStep
from pipeline_lib.report.finding import CONTROL_COLOUR, ArmSeries, finding_budgets, finding_dynamics, strokes
from pipeline_lib.store.database import Store

TABLE_LINES, COUNT_LINES = "<think>\n7a+1=8\n</think>\n\\boxed{8}", "<think>\n7a+1 8+0\n</think>\n\\boxed{8}"
BENCHMARKS = ("tiny-sum", "tiny-wheel")
SEEDS = (0, 1, 2)
# Accuracy at 48 tokens after training, by arm and seed. Differences: 0.30, 0.31, 0.32.
ACCURACY = {"tight": (0.60, 0.62, 0.64), "control": (0.30, 0.31, 0.32)}

EXPERIMENT = f'''
name = "t1"
finding = "F2"
title = "A | B"
paper = "Judging at one budget
misleads."
base = "{EXPERIMENTS_FOLDER / "base.toml"}"
set = {{ "train.steps" = 4 }}
seeds = [0, 1, 2]
metrics = ["accuracy@48", "tokens", "tiny-wheel.tokens", "entropy.last"]
panels = ["masked_fraction", "kl"]
discussion = """
Seen: **it holds**.
"""

[[arms]]
name = "tight"
label = "tight target"

[[arms]]
name = "control"
label = "correctness only"
set = {{ "reward.name" = "vanilla", "base_model" = "/somewhere/else/model3" }}
is_control = true

[[claims]]
text = "Shorter answers win within 48 tokens."
metric = "accuracy@48"
arm = "tight"
versus = "control"
relation = ">"

[[claims]]
text = "It stays below 50 tokens."
metric = "tokens"
arm = "tight"
value = 50.0
relation = "<"
'''


@pytest.fixture(scope="module")
def experiment_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("experiment") / "t1.toml"
    path.write_text(EXPERIMENT.replace("/somewhere/else/model3", "builtin:tiny").replace("budget\nmisleads", "budget misleads"))
    return path


def training_step(run_id: str, step: int, seed: int) -> dict[str, Any]:
    numbers = {name: 0.5 for name in TrainingStep.__slots__ if name not in ("run_id", "step")}
    return {
        **numbers,
        "run_id": run_id,
        "step": step,
        "optimizer_steps": step,
        "num_rollouts": 2,
        "mean_tokens": 80.0 - 10 * step - seed,
        "entropy": 0.01 * (seed + 1),
        "kl": None,
        "batches_drawn": 1,
        "batch_optimizer_steps": 1,
        "largest_policy_lag": 0,
        "validation_full_accuracy": 0.7 if step == 4 else None,
    }


def budget_rows(run_id: str, accuracy: float) -> list[dict[str, Any]]:
    return [
        {
            "run_id": run_id,
            "model": "m",
            "step": step,
            "benchmark": benchmark,
            "budget_tokens": budget,
            "num_prompts": 210,
            "num_samples": 2,
            "mean_at_k": (accuracy if step else 0.2) * budget / 48,
            "pass_at_k": 0.9,
            "ci_low": 0.1,
            "ci_high": 0.9,
            "mean_tokens": 36.0 if step else 80.0,
            "truncated_fraction": 0.0,
        }
        for step in (0, 4)
        for benchmark in BENCHMARKS
        for budget in (24, 48)
    ]


def rollouts(run_id: str, step: int) -> list[Rollout]:
    """Two short rollouts and two long ones."""
    texts = [TABLE_LINES, COUNT_LINES, TABLE_LINES, COUNT_LINES]
    common: dict[str, Any] = {"model": "m", "source": "tiny-sum", "num_tokens": 10, "finish_reason": "stop", "answer": "8"}
    return [
        Rollout(
            run_id=run_id, stage="train", step=step, prompt_id="sum-7a+1", sample_index=index, correct=True,
            grade_reason="equal", text=text, **common,
        )
        for index, text in enumerate(texts)
    ]  # fmt: skip


def record(store: Store, child: ChildRun, seconds: float) -> None:
    """What a finished child run leaves in the store."""
    run_id, key = child.config.run_id, {"experiment": "t1", "arm": child.arm.name, "seed": child.seed}
    accuracy = ACCURACY[child.arm.name][child.seed]
    store.write("runs", [{"run_id": run_id, "name": child.config.name, "status": "completed", "base_model": "m",
                          "config": child.config.model_dump(mode="json")}])  # fmt: skip
    store.write("training_steps", [training_step(run_id, step, child.seed) for step in range(1, 5)])
    store.write("budget_results", budget_rows(run_id, accuracy))
    for step in range(1, 5):
        store.write_rollouts(rollouts(run_id, step), run_id, "train", f"step-{step:05d}")
    if child.arm.name == "control":
        alarm = {"run_id": run_id, "kind": "length_rebound", "value": 1.0, "threshold": 0.5, "action": "warn"}
        store.write("alarms", [{**alarm, "step": 3 + child.seed}, {**alarm, "step": 9}])
    metrics = {"accuracy@48": accuracy, "base.accuracy@48": 0.2, "tokens": 36.0 + child.seed, "entropy.last": 0.0123}
    store.write("experiment_metrics", [{**key, "metric": name, "value": value} for name, value in metrics.items()])
    row = {"run_id": run_id, "finding": "F2", "label": child.arm.label, "position": child.position, "settings": child.arm.set}
    store.write("experiments", [{**key, **row, "status": "completed", "seconds": seconds}])


@pytest.fixture(scope="module")
def recorded(experiment_path: Path) -> Path:
    """A home in which all child runs of the experiment are recorded."""
    folder = experiment_path.with_name("home")
    store = Store(folder)
    for child in child_runs(load_experiment(str(experiment_path)), experiment_path, SEEDS):
        record(store, child, seconds=50.0)
    return folder


@pytest.fixture
def experiment(experiment_path: Path, recorded: Path, home: Path) -> ExperimentConfig:
    """The experiment, its child runs recorded in the home."""
    shutil.copytree(recorded, home)
    return load_experiment(str(experiment_path))


def written(home: Path, experiment: ExperimentConfig, folder: Path, seeds: tuple[int, ...] = SEEDS) -> tuple[str, str]:
    page, verdict, pictures = write_page(collect_results(Store(home), experiment, seeds), folder)
    assert page == folder / "t1.md"
    assert all(picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size < 250_000 for picture in pictures)
    return page.read_text(encoding="utf-8"), verdict


def table_rows(page: str, first_cell: str) -> list[list[str]]:
    lines = [line for line in page.splitlines() if line.startswith(f"| {first_cell}")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_page_has_the_numbers_worked_out_by_hand(home: Path, experiment: ExperimentConfig, tmp_path: Path) -> None:
    page, verdict = written(home, experiment, tmp_path / "pages")
    assert verdict == "reproduced"
    assert "**Reproduced in this world: of 2 claims, 2 shown (3 seeds).**" in page
    # 62 with s = 2: 4.3027 · 2 / √3 = 4.97; 31 with s = 1: 2.48. Both arms share the base, so it has a column.
    assert table_rows(page, "accuracy within 48")[0][1:] == ["20.0 ± 0.0", "62.0 ± 5.0", "31.0 ± 2.5"]
    assert table_rows(page, "tiny-wheel: mean length")[0][1:] == ["–", "–", "–"]
    assert table_rows(page, "entropy, at the end")[0][2] == "0.0123 ± 0.0000"
    won, short = table_rows(page, "Shorter answers win")[0], table_rows(page, "It stays below")[0]
    assert won[1:] == [
        "accuracy within 48 tokens: tight target 62.0 > correctness only 31.0 %", "+31.0 [+28.5, +33.5] points", "3 of 3",
        "**shown**",
    ]  # fmt: skip
    # 36, 37, 38 against 50: -13 with s = 1.
    assert short[1:4] == [
        "mean length: tight target 37.0 < 50.0 tokens", "−13.0 [−15.5, −10.5] tokens", "3 of 3",
    ]  # fmt: skip
    assert table_rows(page, "length rebound")[0][1:] == ["", "3 of 3, step 4"]
    # 6 child runs of 4 steps with 2 rollouts each, 55 - seed tokens on average; 6 × 50 s.
    assert "6 child runs in all: 24 steps, 48 training rollouts with 0.0 million tokens." in page
    assert "add up to 5 min 00 s" in page


def test_page_says_what_the_paper_says_and_how_to_run_it(home: Path, experiment: ExperimentConfig, tmp_path: Path) -> None:
    page, _ = written(home, experiment, tmp_path / "pages")
    assert page.startswith("# F2: A | B\n")
    assert "> Judging at one budget misleads." in page
    assert "Seen: **it holds**." in page
    assert "laconic experiment t1 --seeds 3" in page
    assert 'base_model = "builtin:tiny"' in page and '`reward.name = "vanilla"`' in page
    query = re.search(r'laconic sql "(.*)"', page)
    assert query is not None
    found = Store(home).query(query[1]).rows
    assert ("tight", "accuracy@48", pytest.approx(0.62), pytest.approx(0.02), 3) in found
    assert str(tmp_path.parent) not in page
    assert (tmp_path / "pages" / "t1-dynamics.png").is_file() and "](t1-dynamics.png)" in page


def test_paths_of_models_are_left_out(home: Path, experiment: ExperimentConfig, tmp_path: Path) -> None:
    arms = [experiment.arms[0], experiment.arms[1].model_copy(update={"set": {"base_model": "/somewhere/else/model3"}})]
    page, _ = written(home, experiment.model_copy(update={"arms": tuple(arms)}), tmp_path / "pages")
    assert '`base_model = "model3"`' in page
    assert "somewhere" not in page


def test_the_same_rows_give_the_same_bytes(home: Path, experiment: ExperimentConfig, tmp_path: Path) -> None:
    written(home, experiment, tmp_path / "one")
    written(home, experiment, tmp_path / "two")
    first, second = (sorted((tmp_path / name).iterdir()) for name in ("one", "two"))
    assert [path.name for path in first] == ["t1-budgets.png", "t1-dynamics.png", "t1.md"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_an_incomplete_experiment_says_so(home: Path, experiment_path: Path, tmp_path: Path) -> None:
    loaded, store = load_experiment(str(experiment_path)), Store(home)
    page, verdict = written(home, loaded, tmp_path / "pages")
    assert verdict == "not judged"
    assert "Not complete: 6 of 6 child runs are missing: tight (seeds 0, 1, 2); control (seeds 0, 1, 2)." in page
    assert "No child run is recorded yet." in page
    assert ".png" not in page
    for child in child_runs(loaded, experiment_path, (0,)):
        record(store, child, seconds=1.0)
    page, verdict = written(home, loaded, tmp_path / "pages")
    assert verdict == "partly"
    assert "of 2 claims, 2 in direction (1 seed, which gives no interval)" in page
    assert "Not complete: 4 of 6 child runs are missing: tight (seeds 1, 2); control (seeds 1, 2)." in page
    # A run that is not asked for is not missed.
    page, _ = written(home, loaded, tmp_path / "pages", seeds=(0,))
    assert "Not complete" not in page


def test_a_missing_seed_has_an_n_of_its_own(home: Path, experiment: ExperimentConfig, tmp_path: Path) -> None:
    key = {"experiment": "t1", "arm": "tight", "seed": 2}
    Store(home).write("experiment_metrics", [{**key, "metric": "tokens", "value": None}])
    Store(home).write("experiment_metrics", [{**key, "metric": "entropy.last", "value": math.nan}])
    page, _ = written(home, experiment, tmp_path / "pages")
    # 36 and 37: s = 0.7071, 12.7062 · 0.7071 / √2 = 6.35.
    assert table_rows(page, "mean length, tokens")[0][2] == "36.5 ± 6.4 (n = 2)"
    # Both of the seeds that have the metric are below 50; the third may be the one that is not.
    assert table_rows(page, "It stays below")[0][3:] == ["2 of 2", "**not shown**"]
    assert table_rows(page, "entropy, at the end")[0][2] == "0.0123 ± 0.0000 (n = 2)"


def test_a_claim_of_our_own_is_shown_and_not_counted(home: Path, experiment: ExperimentConfig, tmp_path: Path) -> None:
    wrong = experiment.claims[1].model_copy(update={"text": "It stays below 5.", "value": 5.0, "is_ours": True})
    page, verdict = written(home, experiment.model_copy(update={"claims": (*experiment.claims, wrong)}), tmp_path / "pages")
    assert verdict == "reproduced"
    assert "of 2 claims, 2 shown" in page
    assert table_rows(page, "It stays below 5. (ours, not in the verdict)")[0][4] == "**contradicted**"


def test_no_control_is_mentioned(home: Path, experiment: ExperimentConfig, tmp_path: Path) -> None:
    arms = tuple(arm.model_copy(update={"is_control": False}) for arm in experiment.arms)
    page, _ = written(home, experiment.model_copy(update={"arms": arms}), tmp_path / "pages")
    assert "No arm of this experiment is a correctness-only control." in page


def test_curves_carry_the_style_shares_of_their_rollouts(home: Path, experiment: ExperimentConfig) -> None:
    series = arm_series(collect_results(Store(home), experiment, SEEDS))
    assert [arm.is_control for arm in series] == [False, True]
    assert [len(arm.curves) for arm in series] == [3, 3]
    shares = [(row["style.short"], row["style.long"], row["style.skip"], row["style.other"]) for row in series[0].curves[0]]
    assert shares == [(0.5, 0.5, 0.0, 0.0)] * 4


def drawn(axis: Any, colour: str) -> Any:
    return next(line for line in axis.lines if line.get_color() == colour)


def test_dynamics_draw_mean_and_band_of_the_seeds(home: Path, experiment: ExperimentConfig) -> None:
    figure = finding_dynamics(arm_series(collect_results(Store(home), experiment, SEEDS)), experiment.panels)
    assert figure is not None
    panels = {axis.get_title(loc="left"): axis for axis in figure.axes}
    # Nobody measured the KL, so that panel is not there.
    assert {"Response length", "Held-out accuracy", "Short style", "Long styles", "Kept out of the loss"} <= panels.keys()
    assert "KL to the base" not in panels
    line = drawn(panels["Response length"], CONTROL_COLOUR)
    assert np.asarray(line.get_ydata()).tolist() == [69.0, 59.0, 49.0, 39.0]
    bands = [band.get_paths()[0].get_extents() for band in panels["Response length"].collections]
    assert [(band.y0, band.y1) for band in bands] == [(38.0, 70.0)] * 2
    held_out = panels["Held-out accuracy"]
    assert np.asarray(drawn(held_out, CONTROL_COLOUR).get_xdata()).tolist() == [4]


def test_a_run_that_stopped_early_leaves_the_mean_to_the_others() -> None:
    curves = [[{"step": 1, "entropy": 1.0}, {"step": 2, "entropy": 3.0}], [{"step": 1, "entropy": 2.0}]]
    figure = finding_dynamics([ArmSeries("a", "m", None, curves=curves)])
    assert figure is not None
    (axis,) = figure.axes
    assert np.asarray(axis.lines[0].get_ydata()).tolist() == [1.5, 3.0]


def test_budgets_show_every_arm_beside_the_base(home: Path, experiment: ExperimentConfig) -> None:
    figure = finding_budgets(arm_series(collect_results(Store(home), experiment, SEEDS)))
    assert figure is not None
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert titles == ["tiny-sum", "tiny-wheel", "tiny-sum, largest budget"]
    base, tight, control = figure.axes[0].lines
    assert np.asarray(base.get_ydata()).tolist() == pytest.approx([10.0, 20.0])
    assert np.asarray(tight.get_ydata()).tolist() == pytest.approx([31.0, 62.0])
    assert np.asarray(control.get_ydata()).tolist() == pytest.approx([15.5, 31.0])
    assert finding_budgets([]) is None and finding_dynamics([]) is None


def test_up_to_fifteen_arms_look_different() -> None:
    arms = [ArmSeries(str(number), "m", None, is_control=number == 3) for number in range(15)]
    looks = strokes(arms)
    assert len({(look.colour, str(look.line_style)) for look in looks}) == 15
    assert looks[3].colour == CONTROL_COLOUR


@pytest.mark.parametrize(
    ("num_rollouts", "num_positive", "estimator", "advantage"),
    [
        (4, 1, "grpo", 0.75 / (0.5 + 1e-4)),
        (4, 3, "grpo", 0.25 / (0.5 + 1e-4)),
        (8, 1, "mean", 0.875),
        (8, 7, "rloo", 1 - 6 / 7),
        (8, 4, "grpo", 0.5 / ((8 * 0.25 / 7) ** 0.5 + 1e-4)),
    ],
)
def test_advantages_of_rare_and_common_positives(
    num_rollouts: int, num_positive: int, estimator: Any, advantage: float
) -> None:
    assert positive_advantage(num_rollouts, num_positive, estimator) == pytest.approx(advantage)


def test_f10_has_the_calculation(home: Path, experiment: ExperimentConfig, tmp_path: Path) -> None:
    page, _ = written(home, experiment.model_copy(update={"finding": "F10"}), tmp_path / "pages")
    assert table_rows(page, "4 ")[0][2:] == ["1.500", "0.866", "0.500", "1.73", "3.00"]
    assert "## By calculation" not in written(home, experiment, tmp_path / "pages")[0]


@pytest.mark.parametrize(
    ("metric", "value", "shown"),
    [
        ("accuracy@48", 0.4567, "45.7 %"),
        ("tiny-wheel.base.accuracy@192", 0.5, "50.0 %"),
        ("tokens_correct", 1234.56, "1,234.6 tokens"),
        ("dip", -0.012, "−1.2 points"),
        ("entropy.max", 0.05123, "0.0512 nats"),
        ("entropy.growth", 1.5, "1.50 ×"),
        ("half_length_step", 15.0, "15 steps"),
        ("line.table.last", 0.981, "98.1 %"),
        ("alarm.length_collapse", 0.0, "0.0 a run"),
    ],
)
def test_metrics_in_their_units(metric: str, value: float, shown: str) -> None:
    text = describe_metric(metric)
    assert text is not None
    assert f"{text.number(value)} {text.unit}" == shown


def test_signs_and_missing_values() -> None:
    text = describe_metric("accuracy@48")
    assert text is not None
    numbers = [text.number(value, signed=True) for value in (0.1, -0.1, 0.0, -0.0001, None)]
    assert numbers == ["+10.0", "−10.0", "0.0", "0.0", "–"]
    assert text.difference_unit == "points"


@pytest.mark.parametrize("name", ["accuracy", "tokens.first", "entropy", "line.table.max", "nonsense", "tiny-wheel.dip"])
def test_names_that_no_child_run_has(name: str) -> None:
    assert describe_metric(name) is None


def test_every_metric_of_a_curve_is_described_and_documented() -> None:
    curve = [training_step("r", step, 0) for step in range(1, 5)]
    names = [*curve_metrics(curve), *held_out_metrics(curve, 0.7)]
    assert [name for name in names if describe_metric(name) is None] == []
    text = (EXPERIMENTS_FOLDER.parents[1] / "docs" / "experiments.md").read_text(encoding="utf-8")
    documented = {name.partition(".")[0] for name in re.findall(r"`([a-z_]+(?:[.@][A-Za-z_.]+)?)`", text)}
    assert {name.partition(".")[0] for name in names} - documented == set()


@pytest.mark.parametrize("name", experiment_names())
def test_shipped_experiments_name_metrics_and_panels_that_exist(name: str) -> None:
    shipped = load_experiment(name)
    named = {*shipped.metrics, *(claim.metric for claim in shipped.claims)}
    named |= {claim.versus_metric for claim in shipped.claims if claim.versus_metric}
    assert [metric for metric in sorted(named) if describe_metric(metric) is None] == []
    assert set(shipped.panels) <= set(TrainingStep.__slots__)
    assert any(arm.is_control for arm in shipped.arms)


def test_the_configuration_of_a_child_run_is_read_back(home: Path, experiment: ExperimentConfig) -> None:
    child = collect_results(Store(home), experiment, SEEDS).children[0]
    assert isinstance(child.config, RunConfig)
    assert (child.config.train.steps, child.config.seed, child.config.run_id) == (4, 0, child.run_id)
