"""Experiments as files: grids, arms, seeds, what a child run's configuration is, and the metrics of its curves."""

from pathlib import Path

import pytest

from pipeline_lib.experiments.metrics import curve_metrics, held_out_metrics, style_shares
from pipeline_lib.experiments.specification import child_runs, experiment_file, experiment_names, load_experiment
from pipeline_lib.rewards import REWARDS

HEAD = 'name = "mine"\nfinding = "F0"\ntitle = "t"\npaper = "p"\n'


def write(folder: Path, text: str, configs: Path) -> Path:
    (folder / "base.toml").write_text((configs / "experiments" / "base.toml").read_text())
    path = folder / "mine.toml"
    path.write_text(HEAD + text)
    return path


@pytest.mark.parametrize("name", [*experiment_names(), "real-model", "real-model-first"])
def test_every_shipped_experiment_loads_and_says_what_is_claimed(name: str) -> None:
    experiment = load_experiment(name)
    assert experiment.name == name
    assert experiment.claims or experiment.finding == "F10"
    assert len(experiment.seeds) >= (2 if name.startswith("real-model") else 3)
    assert experiment.paper
    assert any(arm.is_control for arm in experiment.arms), "every page shows the correctness-only control"
    controls = [child for child in child_runs(experiment, experiment_file(name), (0,)) if child.arm.is_control]
    assert {child.config.reward.name for child in controls} == {"vanilla"}


def test_all_findings_but_the_one_that_needs_large_models_have_an_experiment() -> None:
    assert {load_experiment(name).finding for name in experiment_names()} >= {f"F{n}" for n in (1, 2, 3, 4, 5, 6, 7, 8, 10)}


def test_an_arm_changes_the_base_and_a_seed_sets_its_keys(tmp_path: Path, configs: Path) -> None:
    path = write(tmp_path, '[[arms]]\nname = "a"\nlabel = "A"\nset = {"reward.name" = "kimi", "train.steps" = 7}\n', configs)
    experiment = load_experiment(str(path))
    children = child_runs(experiment, path, (0, 2), ("train.num_rollouts=4",))
    assert [child.config.name for child in children] == ["mine-a-s0", "mine-a-s2"]
    last = children[1].config
    assert (last.seed, last.prompts.seed) == (2, 2)
    assert (last.reward.name, last.train.steps, last.train.num_rollouts) == ("kimi", 7, 4)
    assert children[0].config.run_id != last.run_id


def test_a_grid_is_the_product_of_its_values(tmp_path: Path, configs: Path) -> None:
    path = write(tmp_path, '[grid]\n"filter.subset" = ["easy", "hard"]\n"train.num_rollouts" = [4, 8]\n', configs)
    experiment = load_experiment(str(path))
    assert [arm.name for arm in experiment.arms] == ["easy-4", "easy-8", "hard-4", "hard-8"]
    assert experiment.arms[2].set == {"filter.subset": "hard", "train.num_rollouts": 4}
    assert experiment.arms[2].label == "subset = hard, num_rollouts = 4"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[arms]]\nname = "a"\nlabel = "A"\n[[arms]]\nname = "a"\nlabel = "B"\n', "each with its own name"),
        ('[[arms]]\nname = "a"\nlabel = "A"\nset = {"reward.nam" = "kimi"}\n', "unknown key reward.nam"),
        (
            '[[arms]]\nname = "a"\nlabel = "A"\n[[claims]]\ntext = "t"\nmetric = "tokens"\narm = "b"\nrelation = "<"\n',
            r"claims name arms \['b'\]",
        ),
    ],
)
def test_mistakes_are_told_before_anything_runs(tmp_path: Path, configs: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_experiment(str(write(tmp_path, text, configs)))


def test_an_unknown_experiment_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no experiment 'f99'; there are"):
        load_experiment("f99")


def test_every_reward_can_be_an_arm(tmp_path: Path, configs: Path) -> None:
    names = ", ".join(f'"{name}"' for name in sorted(REWARDS))
    path = write(tmp_path, f'[grid]\n"reward.name" = [{names}]\n', configs)
    assert len(child_runs(load_experiment(str(path)), path, (0,))) == len(REWARDS)


def curve(lengths: list[float], **columns: list[float]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for index, length in enumerate(lengths):
        row: dict[str, object] = {"step": index + 1, "optimizer_steps": 2 * (index + 1), "mean_tokens": length}
        rows.append({**row, **{name: values[index] for name, values in columns.items()}})
    return rows


def test_curve_metrics_by_hand() -> None:
    lengths = [100.0] * 5 + [60.0] * 5 + [20.0] * 5 + [30.0] * 5
    metrics = curve_metrics(curve(lengths))
    assert (metrics["length.first"], metrics["length.last"], metrics["length.min"]) == (100.0, 30.0, 20.0)
    assert metrics["length.rebound"] == pytest.approx(1.5)
    # Halfway between 100 and 20 is 60: the window of steps 6 to 10 is the first at or below it.
    assert metrics["half_length_step"] == 10
    assert metrics["half_length_updates"] == 20
    assert metrics["kl.max"] is None
    # Quarters of 20 steps are windows of five: the third is the lowest, the fourth the last.
    assert (metrics["length.trough"], metrics["length.end"]) == (20.0, 30.0)


def test_a_quarter_of_a_long_run_is_longer_than_a_window() -> None:
    """A single low window of five steps among 40 is no trough."""
    metrics = curve_metrics(curve([50.0] * 20 + [10.0] * 5 + [50.0] * 15))
    assert metrics["length.min"] == 10.0
    assert metrics["length.trough"] == 30.0  # five of ten steps at 10
    assert metrics["length.end"] == 50.0


def test_the_dip_and_what_comes_back_by_hand() -> None:
    rows = [{"validation_full_accuracy": value} for value in (0.7, None, 0.5, 0.55, None, 0.65)]
    metrics = held_out_metrics(rows, 0.75)
    assert metrics["dip"] == pytest.approx(0.25)
    assert metrics["recovery"] == pytest.approx(0.15)
    assert held_out_metrics([{"validation_full_accuracy": None}], 0.7) == {}


def test_style_shares_of_a_step() -> None:
    table = "<think>\n7a+3=0\n</think>\n\\boxed{0}"
    shares = style_shares({3: [("sum-7a+3", table), ("sum-7a+3", "<think>\n</think>\n\\boxed{0}")]})
    assert (shares[3]["table"], shares[3]["skip"], shares[3]["count"]) == (0.5, 0.5, 0.0)
