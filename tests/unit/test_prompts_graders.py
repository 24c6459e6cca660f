"""What own graders and multiple choice need of a file's rows, and that a grader's file belongs to the identity."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib.config import PromptSource, load_config
from pipeline_lib.prompts import load_prompts
from pipeline_lib.prompts.local_copies import source_identity
from pipeline_lib.stages.evaluate import evaluate_fingerprint
from pipeline_lib.stages.profile import profile_fingerprint

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def source(tmp_path: Path, rows: list[dict[str, Any]], **settings: Any) -> PromptSource:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return PromptSource.model_validate({"name": "rows", "kind": "file", "path": str(path), **settings})


def test_options_are_put_below_the_problem_and_the_answer_becomes_their_letter(tmp_path: Path) -> None:
    rows = [
        {"problem": "2 + 2?", "choices": ["3", "4"], "answer": 1},
        {"problem": "2 + 3?", "choices": ["5", "6"], "answer": 0},
    ]
    first, second = load_prompts(source(tmp_path, rows, grader="choice", choices_field="choices"))
    assert (first.problem, first.answer) == ("2 + 2?\nA. 3\nB. 4", "B")
    assert second.answer == "A"
    labelled = [{"problem": "?", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answer": "2"}]
    (prompt,) = load_prompts(source(tmp_path, labelled, grader="choice", choices_field="choices"))
    assert prompt.answer == "B"
    own = [{"problem": "Which?\n(A) x\n(B) y", "answer": "y"}]
    (prompt,) = load_prompts(source(tmp_path, own, grader="choice"))
    assert prompt.answer == "B"


def test_a_gold_answer_that_is_no_option_is_named(tmp_path: Path) -> None:
    rows = [{"problem": "Which?\n(A) x\n(B) y", "answer": "z"}]
    with pytest.raises(ValueError, match="answer_field = 'answer' holds 'z', which is no option of the problem"):
        load_prompts(source(tmp_path, rows, grader="choice"))
    rows = [{"problem": "Which?", "choices": ["x", "y"], "answer": 2}]
    with pytest.raises(ValueError, match="choices_field = 'choices': the answer 2 is not one of 2 options"):
        load_prompts(source(tmp_path, rows, grader="choice", choices_field="choices"))


def test_a_function_gets_the_columns_that_are_named_and_needs_no_answer(tmp_path: Path) -> None:
    settings = {"grader": "python", "function": "my_judge:grade"}
    rows = [{"problem": "How long?", "unit": "cm", "other": 1}]
    (prompt,) = load_prompts(source(tmp_path, rows, **settings, metadata_fields=["unit"]))
    assert (prompt.answer, json.loads(prompt.tests or "")) == ("", {"unit": "cm"})
    with pytest.raises(ValueError, match="metadata_fields = 'units' is not one of the columns problem, unit, other"):
        load_prompts(source(tmp_path, rows, **settings, metadata_fields=["units"]))


def test_a_changed_function_makes_the_stages_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    judge = tmp_path / "my_judge.py"
    overrides = ["prompts.grader=python", "prompts.function=my_judge:grade", "evaluate.benchmarks.0.grader=python"]
    config = load_config(CONFIGS / "smoke.toml", [*overrides, "evaluate.benchmarks.0.function=my_judge:grade"])
    found = []
    for text in ("def grade(r, p): return True", "def grade(r, p): return False", "def grade(r, p): return True"):
        judge.write_text(text)
        benchmark = config.evaluate.benchmarks[0]
        found.append((profile_fingerprint(config, "base"), evaluate_fingerprint(config, "base", benchmark)))
    assert found[0] == found[2]
    assert found[0][0] != found[1][0] and found[0][1] != found[1][1]
    judge.unlink()
    assert source_identity(config.prompts) != found
