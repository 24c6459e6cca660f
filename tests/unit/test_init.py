"""`laconic init`: what it notices and writes, held against the real `laconic check`, and what it refuses."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.cli import app
from pipeline_lib.config import RunConfig, load_config
from pipeline_lib.prompts.columns import detect_columns
from pipeline_lib.tiny_world import BASE_FOLDER

SERVED = ["--model", "https://example.org/v1", "--served-name", "big", "--key-variable", "MY_KEY"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LACONIC_HOME", str(tmp_path / "home"))
    return tmp_path


def write(name: str, rows: list[dict[str, Any]]) -> str:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return name


def own_data(number: int = 100) -> str:
    rows = [
        {"id": f"row-{row}", "Question": f"What is {row} + 1?", "answer": f"So it is #### {row + 1}"} for row in range(number)
    ]
    return write("own.jsonl", rows)


def written(*words: str) -> RunConfig:
    """The configuration that `laconic init` writes, which must pass `laconic check` for the same card."""
    result = CliRunner().invoke(app, ["init", "my/first", "--yes", *words])
    assert result.exit_code == 0, (result.output, result.exception)
    assert "0 errors" in result.output
    card = ["--card-gib", words[words.index("--card") + 1]] if "--card" in words and "none" not in words else []
    checked = CliRunner().invoke(app, ["check", "my/first.toml", *card])
    assert checked.exit_code == 0, checked.output
    return load_config("my/first.toml")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {"base_model": "builtin:tiny", "prompts.family": "sum", "reward.target_tokens": 64, "control.enabled": True}),
        (
            ["--model", "Qwen/Qwen3-1.7B", "--card", "80"],
            {
                "chat_style": "qwen3-thinking",
                "prompts.name": "deepscaler",
                "train.rollout_limit_tokens": 4096,
                "train.lora": None,
            },
        ),
        (
            ["--model", "Qwen/Qwen3-4B-Instruct-2507", "--card", "24", "--test", "math500", "--test", "aime25"],
            {"chat_style": "model", "train.lora.rank": 32, "train.learning_rate": 1e-5, "evaluate.benchmarks.1.name": "aime25"},
        ),
        (
            ["--model", "Qwen/Qwen3-8B", "--card", "80", "--gpus", "3", "--data", "gsm8k"],
            {"compute.num_processes": 3, "train.prompts_per_step": 33, "prompts.num_problems": 1319},
        ),
        (["--model", "some/model-7b", "--card", "80"], {"generation.gpu_memory_utilization": 0.45}),
        (["--model", "some/model-135m", "--card", "none"], {"train.learning_rate": 2e-5, "profile.temperature": 0.5}),
        ([*SERVED, "--data", "gsm8k"], {"base_model": "big", "generation.endpoint.key_variable": "MY_KEY"}),
        (["--data", "tiny", "--answer", "last_number"], {"prompts.answer_from": "last_number"}),
    ],
)
def test_what_is_written_passes_check(words: list[str], expected: dict[str, Any]) -> None:
    config: Any = written(*words)
    for key, value in expected.items():
        found: Any = config
        for part in key.split("."):
            found = found[int(part)] if part.isdigit() else getattr(found, part)
        assert found == value, key


def test_every_line_with_a_choice_has_its_reason() -> None:
    written("--model", "Qwen/Qwen3-0.6B", "--card", "80", "--data", own_data())
    settings = [line for line in Path("my/first.toml").read_text().splitlines() if " = " in line]
    without = {line.partition(" ")[0] for line in settings if "# " not in line}
    assert without <= {"name", "engine", "kind", "keep_last"}


def test_columns_of_a_file_are_found_and_a_part_is_held_out() -> None:
    config = written("--model", "Qwen/Qwen3-0.6B", "--card", "24", "--data", own_data())
    source, held_out, judged = config.prompts, config.validation, config.evaluate.benchmarks[0]
    assert (source.problem_field, source.answer_field, source.answer_after, source.id_field) == (
        "Question",
        "answer",
        "####",
        "id",
    )
    assert (source.grader, source.template, source.num_prompts) == ("math", "boxed", None)
    assert held_out and {held_out.source.num_prompts, judged.num_prompts} == {20}
    assert len({source.seed, held_out.source.seed, judged.seed}) == 3
    assert config.train.prompts_per_step <= 25


def test_memory_that_is_taken_elsewhere_is_said() -> None:
    assert written("--model", "Qwen/Qwen3-4B-Instruct-2507", "--card", "80").compute.optimizer_offload
    assert "67 GiB of the machine's own memory" in Path("my/first.toml").read_text()


def test_where_the_answer_stands() -> None:
    rows = own_data()
    assert written("--data", rows, "--answer", "after:####", "--force").prompts.answer_mark == "####"
    assert written("--data", rows, "--answer", r"pattern:so (\d+)", "--force").prompts.answer_pattern == r"so (\d+)"
    judge = written("--data", rows, "--answer", "python:operator:eq", "--force").prompts
    assert (judge.grader, judge.function) == ("python", "operator:eq")
    with pytest.raises(ValueError, match="boxed, last_number"):
        CliRunner().invoke(app, ["init", "x", "--data", rows, "--answer", "after:"], catch_exceptions=False)


def test_a_base_model_without_turns_gets_the_plain_style() -> None:
    shutil.copytree(BASE_FOLDER, "base")
    Path("base/chat_template.jinja").unlink(missing_ok=True)
    settings = json.loads(Path("base/tokenizer_config.json").read_text())
    Path("base/tokenizer_config.json").write_text(
        json.dumps({key: settings[key] for key in settings if key != "chat_template"})
    )
    assert written("--model", "./base", "--card", "none", "--data", own_data()).chat_template == "plain"


@pytest.mark.slow  # twice the start of a process that imports Reasoning Gym
def test_a_family_of_reasoning_gym() -> None:
    pytest.importorskip("reasoning_gym", reason="the extra laconic[gym] is not installed")
    config = written("--data", "gym:chain_sum,leg_counting")
    assert config.prompts.task == ("chain_sum", "leg_counting") and config.prompts.grader == "gym"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["Bad Name"], "no name of a run"),
        (["x", "--model", "nowhere"], "no folder with a config.json"),
        (["x", "--model", "https://example.org/v1"], "--served-name"),
        (["x", "--data", "nothing"], "'gym:TASK' or shipped one"),
        (["x", "--data", "absent.jsonl"], "neither a"),
        (["x", "--card", "large", "--model", "Qwen/Qwen3-0.6B"], "--card large"),
        (["x", "--card", "8", "--model", "Qwen/Qwen3-8B"], "does not fit 1 × 8 GiB"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CliRunner().invoke(app, ["init", "--yes", *words], catch_exceptions=False)
    assert not list(Path().glob("*.toml"))


def test_a_file_that_is_there_stays() -> None:
    Path("x.toml").write_text("mine")
    with pytest.raises(ValueError, match="--force"):
        CliRunner().invoke(app, ["init", "x", "--yes"], catch_exceptions=False)
    assert Path("x.toml").read_text() == "mine"
    assert CliRunner().invoke(app, ["init", "x", "--yes", "--force"]).exit_code == 0
    assert load_config("x.toml").name == "x"


def test_columns_that_no_name_tells_are_asked_for() -> None:
    rows = [{"A": "What is it?", "B": "yes", "options": ["yes", "no"]}] * 2
    with pytest.raises(ValueError, match="--problem-field one of A, B, options"):
        detect_columns(rows, {})
    told = {"problem_field": "A", "answer_field": "B"}
    assert detect_columns(rows, told) == told | {"choices_field": "options", "grader": "choice"}
    assert detect_columns([{"prompt": "p", "target": "yes", "id": 1}] * 2, {}) == {
        "problem_field": "prompt", "answer_field": "target", "grader": "exact",
    }  # fmt: skip


@pytest.mark.slow  # profile and evaluation on an engine; the settings and stages are those of every other run
def test_what_is_written_runs(folder: Path) -> None:
    written("--data", "tiny")
    changes = [
        "generation.engine=transformers", "prompts.num_prompts=24", "train.steps=1", "train.prompts_per_step=2", "profile.num_rollouts=2",
        "validation.source.num_prompts=4", "evaluate.benchmarks.0.num_prompts=4", "evaluate.benchmarks.1.num_prompts=4",
        "evaluate.num_samples=1", "control.enabled=false",
    ]  # fmt: skip
    words = [word for change in changes for word in ("--set", change)]
    command = [sys.executable, "-m", "flows.cli", "run", "my/first.toml", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tiny-sum-test: accuracy (%) within a token budget" in done.stdout
    assert list((folder / "home" / "reports").rglob("*.html"))


def test_what_no_option_answers_is_asked_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.commands.beginning.sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))
    answers = ["Qwen/Qwen3-4B-Instruct-2507", own_data(), "last_number", "24"]
    result = CliRunner().invoke(app, ["init", "asked"], input="\n".join(answers) + "\n")
    assert result.exit_code == 0, (result.output, result.exception)
    for word in ("Model", "Data", "Answer", "Card", "answer_after = ####", "laconic check asked.toml --card-gib 24"):
        assert word in result.output
    config = load_config("asked.toml")
    assert (config.base_model, config.prompts.answer_from) == (answers[0], "last_number") and config.train.lora
