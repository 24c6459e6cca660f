"""A model that others trained: judged beside the base in one sweep, and shown beside what is reported of it."""

import tomllib
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from flows.commands.terminal import console, show_results
from pipeline_lib.config import RunConfig, load_config
from pipeline_lib.report.published import beside_reported
from pipeline_lib.runs.session import sessions_of
from pipeline_lib.stages import STAGES
from pipeline_lib.stages.opened import opened
from pipeline_lib.stages.runner import run_stage
from pipeline_lib.store.database import Store
from pipeline_lib.tiny_world import BASE_FOLDER

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
PUBLISHED = sorted((CONFIGS / "published").glob("*.toml"))
REPORTED = [
    {"stated_in": "a table", "benchmark": "tiny-sum", "step": 0, "mean_at_k": 0.1333, "mean_tokens": 14900},
    {"stated_in": "a table", "benchmark": "tiny-sum", "step": 640, "mean_at_k": 0.2458, "pass_at_k": 0.3667},
]


def configured(folder: Path) -> RunConfig:
    config = load_config(
        CONFIGS / "smoke.toml",
        [
            *("generation.engine=transformers", "tracking.enabled=false", "evaluate.budgets_tokens=[12, 24]"),
            *("evaluate.benchmarks.0.num_prompts=8", f"evaluate.published.model={folder}", "evaluate.published.step=640"),
        ],
    )
    published = {**config.model_dump(mode="json")["evaluate"]["published"], "reported": REPORTED}
    tree = config.model_dump(mode="json")
    return RunConfig.model_validate({**tree, "evaluate": {**tree["evaluate"], "published": published}})


def test_base_and_published_model_in_one_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LACONIC_HOME", str(tmp_path / "home"))
    folder = tmp_path / "Tiny-Art"
    model = AutoModelForCausalLM.from_pretrained(BASE_FOLDER)
    with torch.no_grad():  # it says nothing but the end
        model.get_input_embeddings().weight[2] *= 50
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(BASE_FOLDER).save_pretrained(folder)
    config = configured(folder)
    sessions = sessions_of(config)
    with opened(sessions):
        assert run_stage(STAGES["evaluate"].stage, sessions) == {"evaluated": 2, "skipped": 0}
    store = Store(tmp_path / "home")
    points = store.named("budget_table", run_ids=[config.run_id])
    assert {(point["model"], point["step"]) for point in points} == {("builtin:tiny", 0), ("Tiny-Art", 640)}
    lengths = {point["step"]: point["mean_tokens"] for point in points if point["budget_tokens"] == 24}
    assert lengths[640] < 5 < lengths[0], "they are other weights"
    before, after = beside_reported(config.evaluate.published, points)
    assert (before["model"], before["mean_at_k reported"], before["mean_tokens reported"]) == (
        "builtin:tiny",
        "13.33",
        "14,900",
    )
    assert (after["model"], after["mean_at_k reported"], after["pass_at_k reported"]) == ("Tiny-Art", "24.58", "36.67")
    assert after["mean_tokens reported"] == "–"
    assert after["mean_tokens measured"] == f"{lengths[640]:.1f}"
    with console.capture() as captured:
        show_results([config.run_id])
    assert "Tiny-Art" in captured.get() and "24.58" in captured.get()
    again = sessions_of(config)
    with opened(again):
        assert run_stage(STAGES["evaluate"].stage, again) == {"evaluated": 0, "skipped": 2}


def test_what_is_reported_changes_no_run_and_an_absent_section_neither() -> None:
    plain = load_config(CONFIGS / "smoke.toml")
    published = load_config(CONFIGS / "smoke.toml", ["evaluate.published.model=/m", "evaluate.published.step=1"])
    assert published.run_id != plain.run_id
    tree = published.model_dump(mode="json")
    tree["evaluate"]["published"]["reported"] = [{**REPORTED[0]}]
    assert RunConfig.model_validate(tree).run_id == published.run_id
    tree["evaluate"]["published"]["reported"] = [{**REPORTED[0], "benchmark": "aime25"}]
    with pytest.raises(ValueError, match="is not what is judged"):
        RunConfig.model_validate(tree)


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_the_shipped_rows_are_those_of_the_page(path: Path) -> None:
    """Each configuration judges AIME'25 as the paper's does, and its figures stand on the page, too."""
    config = load_config(path)
    published = config.evaluate.published
    assert published is not None
    assert [source.name for source in config.evaluate.benchmarks] == ["aime25"]
    assert (config.evaluate.num_samples, max(config.evaluate.budgets_tokens)) == (8, 32768)
    assert tomllib.loads(path.read_text())["extends"].endswith("-1gpu")
    assert published.step == load_config(CONFIGS / f"{path.stem}.toml").train.steps
    page = (CONFIGS.parent / "docs" / "findings" / "published.md").read_text()
    [line] = [line for line in page.splitlines() if f"`{published.model}`" in line]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    before, after = published.reported
    assert cells[0] == config.base_model.partition("/")[2]
    assert cells[1] == f"{100 * before.mean_at_k:.2f} → {100 * after.mean_at_k:.2f}"
    assert cells[2] == f"{100 * (before.pass_at_k or 0):.2f} → {100 * (after.pass_at_k or 0):.2f}"
    assert cells[3] == f"{(before.mean_tokens or 0) / 1000:.1f}k → {(after.mean_tokens or 0) / 1000:.1f}k"
    assert (cells[4], cells[6]) == (str(published.step), f"`{path.name}`")
