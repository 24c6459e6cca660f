"""The shipped benchmark files: complete, pinned, and true to the local copies where these are there."""

import os
import re
import tomllib
from pathlib import Path

import pytest

from pipeline_lib.config import PAPER_PROMPT_SUFFIX, PromptSource
from pipeline_lib.grading import grade_responses
from pipeline_lib.prompts import load_prompts, load_source, resolve_source

REPOSITORY = Path(__file__).resolve().parents[2]
FILES = sorted((REPOSITORY / "configs" / "benchmarks").glob("*.toml"))
DATA = Path(os.environ.get("LACONIC_DATA", REPOSITORY.parent / "shared" / "data"))
# Rows with an answer or tests in the local copies.
LOCAL_ROWS = {
    "aime24": 30,
    "aime25": 30,
    "amc": 83,
    "amc23": 40,
    "deepscaler": 31_983,
    "gsm8k": 1319,
    "humaneval": 164,
    "livecodebench": 879,
    "math500": 500,
    "mbpp": 399,
    "minerva": 272,
    "olympiadbench": 675,
}


def read(path: Path) -> PromptSource:
    return PromptSource.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))


def test_the_set_of_benchmarks_is_complete() -> None:
    assert {path.stem for path in FILES} == set(LOCAL_ROWS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_benchmark_is_pinned_and_says_how_it_is_asked_and_judged(path: Path) -> None:
    source = read(path)
    assert source.name == path.stem
    assert source.kind == "hub" and source.local is not None
    assert re.fullmatch(r"[0-9a-f]{40}", source.revision or "")
    assert source.licence and source.domain in ("math", "code")
    assert source.grader == source.domain
    assert source.user_suffix == PAPER_PROMPT_SUFFIX if source.domain == "math" else "```python" in source.user_suffix


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_local_copy_is_read_with_stable_ids_and_no_empty_answer(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = read(path)
    assert source.local is not None
    if not (DATA / source.local.file).exists():
        pytest.skip(f"{source.local.file} does not lie in the folder of local copies (LACONIC_DATA)")
    monkeypatch.setenv("LACONIC_DATA", str(DATA))
    prompts = load_prompts(source)
    assert len(prompts) == LOCAL_ROWS[path.stem]
    assert all(prompt.problem and (prompt.answer or prompt.tests) for prompt in prompts)
    assert (prompts[0].prompt_id, prompts[-1].prompt_id) == ids_of_the_ends(path.stem)
    if source.grader == "code":
        assert all(prompt.tests for prompt in prompts)


def ids_of_the_ends(name: str) -> tuple[str, str]:
    import pyarrow.parquet as pq

    table = pq.read_table(DATA / str(read(REPOSITORY / "configs" / "benchmarks" / f"{name}.toml").local.file))  # type: ignore[union-attr]
    ids, answers = table.column("id").to_pylist(), table.column("answer").to_pylist()
    usable = [found for found, answer in zip(ids, answers, strict=True) if answer or name == "livecodebench"]
    return usable[0], usable[-1]


def local_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: str, **local: object) -> PromptSource:
    (tmp_path / "copy.jsonl").write_text(rows, encoding="utf-8")
    monkeypatch.setenv("LACONIC_DATA", str(tmp_path))
    hub = {"name": "some", "kind": "hub", "path": "someone/some", "answer_field": "elsewhere"}
    return PromptSource.model_validate({**hub, "local": {"file": "copy.jsonl", "id_field": None, **local}})


def test_a_local_copy_has_columns_of_its_own_and_may_have_pass_rates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = '{"problem": "1+1", "answer": "so #### 2", "hard": 25}\n{"problem": "2+2", "answer": "4", "hard": null}\n'
    source = local_source(tmp_path, monkeypatch, rows, answer_after="####", pass_rate_field="hard")
    source = source.model_copy(update={"pass_rate_scale": "failure_percent"})
    assert resolve_source(source).kind == "file"
    content = load_source(source)
    assert [prompt.answer for prompt in content.prompts.values()] == ["2", "4"]
    assert list(content.pass_rates.values()) == [0.75]


@pytest.mark.parametrize(
    ("local", "message"),
    [
        ({"num_problems": 3}, "holds 1 problems with an answer where num_problems = 3"),
        ({"pass_rate_field": "hard"}, "holds 25, outside the scale pass_rate_scale = 'fraction'"),
        ({"tolerance_field": "problem"}, "tolerance_field = 'problem' holds '1\\+1': a tolerance is a finite number"),
        ({"pass_rate_field": "easy"}, "pass_rate_field = 'easy' is not one of the columns"),
    ],
)
def test_a_local_copy_that_does_not_fit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local: dict[str, object], message: str
) -> None:
    source = local_source(tmp_path, monkeypatch, '{"problem": "1+1", "answer": "2", "hard": 25}\n', **local)
    with pytest.raises(ValueError, match=message):
        load_source(source)


def test_a_repeat_is_left_out_with_an_id_and_cause_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = "".join(f'{{"problem": "1+1", "answer": "{answer}"}}\n' for answer in (2, 2, 3))
    content = load_source(local_source(tmp_path, monkeypatch, rows))
    (kept,) = content.prompts
    assert [(left.prompt.prompt_id, left.cause) for left in content.left_out] == [
        (f"{kept}-repeat-1", "exact_duplicate"),
        (f"{kept}-repeat-2", "conflicting_answers"),
    ]


@pytest.mark.parametrize("name", ["aime24", "aime25", "amc", "math500", "minerva", "olympiadbench", "gsm8k"])
def test_every_gold_answer_is_right_by_its_own_grader(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = read(REPOSITORY / "configs" / "benchmarks" / f"{name}.toml")
    assert source.local is not None
    if not (DATA / source.local.file).exists():
        pytest.skip(f"{source.local.file} does not lie in the folder of local copies (LACONIC_DATA)")
    monkeypatch.setenv("LACONIC_DATA", str(DATA))
    prompts = load_prompts(source)
    golds = [prompt.answer for prompt in prompts]
    responses = [f"So it is $\\boxed{{ {gold} }}$." for gold in golds]
    tolerances = [prompt.tolerance for prompt in prompts]
    grades = grade_responses("math", responses, golds, ["stop"] * len(golds), tolerances=tolerances)
    assert [gold for gold, grade in zip(golds, grades, strict=True) if not grade.correct] == []


def test_the_benchmarks_own_tolerances_reach_the_grader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = '{"problem": "x?", "answer": "4.2", "error": "1e-1"}\n{"problem": "y?", "answer": "4.2", "error": null}\n'
    source = local_source(tmp_path, monkeypatch, rows, tolerance_field="error")
    loose, exact = load_prompts(source.model_copy(update={"tolerance_rule": "olympiadbench"}))
    assert (loose.tolerance, exact.tolerance) == (pytest.approx(0.101), None)
    tolerances = [loose.tolerance, exact.tolerance]
    grades = grade_responses("math", ["\\boxed{4.3}"] * 2, ["4.2"] * 2, ["stop"] * 2, tolerances=tolerances)
    assert [grade.correct for grade in grades] == [True, False]
    (minerva, _) = load_prompts(source.model_copy(update={"tolerance_rule": "minerva"}))
    assert minerva.tolerance == pytest.approx(4.2e-5, rel=0.01)
