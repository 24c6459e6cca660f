"""The figures hold the data they are given."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline_lib.report.canvas import save_png, tokens_text
from pipeline_lib.report.data import AFTER_COLOUR, BEFORE_COLOUR, RunSeries
from pipeline_lib.report.dynamics import moving_average, training_dynamics
from pipeline_lib.report.figures import EASY_COLOUR, HARD_COLOUR, accuracy_by_budget, length_by_correctness, pass_rate_histogram

MAIN = RunSeries("demo-1", "truncation", "main")


def sweep_row(step: int, budget: int, accuracy: float, benchmark: str = "tiny-sum") -> dict[str, Any]:
    interval = {"ci_low": accuracy - 0.1, "ci_high": accuracy + 0.1}
    return {
        "run_id": "demo-1",
        "step": step,
        "benchmark": benchmark,
        "budget_tokens": budget,
        "mean_at_k": accuracy,
        "mean_tokens": 30.0,
    } | interval


def line_values(line: Any, axis: str) -> list[float]:
    values: list[float] = np.asarray(line.get_xdata() if axis == "x" else line.get_ydata()).tolist()
    return values


def test_accuracy_lines_carry_the_values_at_the_real_budgets() -> None:
    rows = [sweep_row(0, 48, 0.25), sweep_row(0, 24, 0.125), sweep_row(8, 24, 0.5), sweep_row(8, 48, 0.75)]
    figure = accuracy_by_budget([MAIN], rows, target_tokens=48)
    assert figure is not None
    (panel,) = figure.axes
    lines = {line.get_color(): line for line in panel.lines if len(line_values(line, "x")) == 2 and line.get_marker() == "o"}
    assert line_values(lines[BEFORE_COLOUR], "x") == [24, 48]
    assert line_values(lines[BEFORE_COLOUR], "y") == [12.5, 25.0]
    assert line_values(lines[AFTER_COLOUR], "y") == [50.0, 75.0]
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["24", "48"]
    assert panel.get_xscale() == "log"
    bands = [band.get_paths()[0].get_extents() for band in panel.collections]
    assert [(round(band.y0, 6), round(band.y1, 6)) for band in bands] == [(2.5, 35.0), (40.0, 85.0)]


def test_nothing_to_show_gives_no_figure() -> None:
    assert accuracy_by_budget([MAIN], []) is None
    assert accuracy_by_budget([MAIN], [sweep_row(0, 48, 0.2), sweep_row(8, 48, 0.3)]) is None
    assert length_by_correctness([MAIN], []) is None
    assert training_dynamics([MAIN]) is None
    assert pass_rate_histogram([]) is None


def test_length_histograms_share_axes_and_add_up() -> None:
    rows = [
        {"run_id": "demo-1", "step": step, "benchmark": benchmark, "correct": number % 4 > 0, "num_tokens": 10 + number}
        for step in (0, 8)
        for benchmark in ("tiny-sum", "tiny-wheel")
        for number in range(40)
    ]
    figure = length_by_correctness([MAIN], rows)
    assert figure is not None
    assert len(figure.axes) == 4
    assert len({panel.get_xlim() for panel in figure.axes}) == 1
    filled = sum(bar.get_height() for bar in figure.axes[0].patches if hasattr(bar, "get_height"))
    assert filled == pytest.approx(75.0)


@pytest.mark.parametrize(("num_benchmarks", "grid"), [(1, (2, 1)), (2, (2, 2)), (5, (5, 2))])
def test_length_panels_stay_readable_with_many_benchmarks(num_benchmarks: int, grid: tuple[int, int]) -> None:
    rows = [
        {"run_id": "demo-1", "step": step, "benchmark": f"bench{number}", "correct": True, "num_tokens": 100}
        for step in (0, 8)
        for number in range(num_benchmarks)
    ]
    figure = length_by_correctness([MAIN], rows)
    assert figure is not None
    spec = figure.axes[0].get_subplotspec()
    assert spec is not None
    assert spec.get_gridspec().get_geometry() == grid


def test_dynamics_leave_out_what_nobody_recorded() -> None:
    steps = [{"step": step, "entropy": 0.1 * step, "grad_norm": None, "kl": None, "accuracy": math.nan} for step in (1, 2, 3)]
    control = RunSeries("demo-control-2", "vanilla", "control", [{"step": 1, "entropy": 0.5}])
    figure = training_dynamics([RunSeries("demo-1", "truncation", "main", steps), control])
    assert figure is not None
    (panel,) = figure.axes
    assert panel.get_title(loc="left") == "Entropy"
    assert line_values(panel.lines[0], "y") == pytest.approx([0.1, 0.2, 0.3])
    assert panel.lines[0].get_color() == AFTER_COLOUR
    assert line_values(panel.lines[1], "y") == [0.5]


def test_log_panels_skip_zeros() -> None:
    steps = [{"step": 1, "grad_norm": 0.0}, {"step": 2, "grad_norm": 10.0}]
    figure = training_dynamics([RunSeries("demo-1", "truncation", "main", steps)])
    assert figure is not None
    assert line_values(figure.axes[0].lines[0], "x") == [2]
    assert figure.axes[0].get_yscale() == "log"


def test_moving_average_by_hand() -> None:
    np.testing.assert_allclose(moving_average(np.array([1.0, 2.0, 6.0, 3.0]), window=3), [1.5, 3.0, 11 / 3, 4.5])


def test_half_is_hard_and_above_is_easy() -> None:
    figure = pass_rate_histogram([0.0, 0.25, 0.5, 0.5, 0.75, 1.0])
    assert figure is not None
    from matplotlib.colors import to_hex

    bars = [
        (bar.get_height(), to_hex(bar.get_facecolor()).upper()) for bar in figure.axes[0].patches if hasattr(bar, "get_height")
    ]
    assert bars == [(1, HARD_COLOUR), (1, HARD_COLOUR), (2, HARD_COLOUR), (1, EASY_COLOUR), (1, EASY_COLOUR)]
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert "hard: 4 prompts (67 %)" in texts
    assert "easy: 2 prompts (33 %)" in texts


def test_uneven_pass_rates_fall_on_their_side_of_the_boundary() -> None:
    figure = pass_rate_histogram([0.5, 0.5001, 1 / 97])
    assert figure is not None
    from matplotlib.colors import to_hex

    heights = {HARD_COLOUR: 0.0, EASY_COLOUR: 0.0}
    for bar in figure.axes[0].patches:
        heights[to_hex(bar.get_facecolor()).upper()] += bar.get_height()  # type: ignore[attr-defined]
    assert heights == {HARD_COLOUR: 2.0, EASY_COLOUR: 1.0}


@pytest.mark.parametrize(("tokens", "text"), [(48, "48"), (1000, "1k"), (2048, "2k"), (32768, "32k"), (1500, "1.5k")])
def test_token_ticks(tokens: float, text: str) -> None:
    assert tokens_text(tokens) == text


def test_the_png_has_200_dots_an_inch(tmp_path: Path) -> None:
    from matplotlib.image import imread

    figure = pass_rate_histogram([0.0, 1.0])
    assert figure is not None
    height, width = imread(save_png(figure, tmp_path / "a.png")).shape[:2]
    assert (width, height) == (1920, 610)


def test_importing_the_report_does_not_import_matplotlib() -> None:
    code = "import sys, pipeline_lib.report; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
