"""Rollouts made elsewhere: columns by any of their names, matched with problems, judged by our grader."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib.config import recorded_config
from pipeline_lib.evaluation.recorded_rollouts import attach_prompts, cells, judge_recorded, own_prompts, read_recorded_rollouts
from pipeline_lib.grading import Grading
from pipeline_lib.prompts.collecting import digest_problem
from pipeline_lib.records import Prompt

ROW = {"problem": "1+1?", "response": "\\boxed{2}", "tokens": 5, "answer": "2"}


def write(tmp_path: Path, rows: list[dict[str, Any]]) -> Path:
    path = tmp_path / "rollouts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_plain_file_gets_sensible_defaults(tmp_path: Path) -> None:
    first, second = read_recorded_rollouts(write(tmp_path, [ROW, ROW | {"response": "\\boxed{3}"}]))
    assert (first.model, first.benchmark, first.finish_reason) == ("recorded", "rollouts", "stop")
    assert (first.sample_index, second.sample_index) == (0, 1)
    assert first.prompt_id == second.prompt_id == digest_problem("1+1?")


def test_every_column_is_found_under_its_other_names(tmp_path: Path) -> None:
    row = {
        "question": "1+1?",
        "text": "\\boxed{2}",
        "n_tokens": 9.0,
        "gold": 2,
        "model": "m",
        "dataset": "d",
        "sample": 3,
        "truncated": True,
    }
    (rollout,) = read_recorded_rollouts(write(tmp_path, [row]))
    assert (rollout.num_tokens, rollout.answer, rollout.model, rollout.benchmark) == (9, "2", "m", "d")
    assert (rollout.sample_index, rollout.finish_reason) == (3, "length")


def test_the_answers_of_our_own_tables_are_not_taken_for_gold(tmp_path: Path) -> None:
    row = {"prompt_id": "p", "text": "x", "num_tokens": 1, "answer": "7", "grade_reason": "wrong", "source": "aime25"}
    (rollout,) = read_recorded_rollouts(write(tmp_path, [row]))
    assert (rollout.prompt_id, rollout.answer, rollout.benchmark) == ("p", "", "aime25")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"response": "x"}, "has no column for num_tokens, problem \\(or prompt_id\\)"),
        (ROW | {"tokens": -1}, "column tokens holds -1 in row 1, not a number of tokens"),
        (ROW | {"tokens": 2.5}, "column tokens holds 2.5 in row 1"),
        (ROW | {"finish_reason": "eos"}, "finish_reason = 'eos' in row 1 is neither 'stop' nor 'length'"),
        (ROW | {"truncated": "yes"}, "truncated = 'yes' in row 1 is neither true nor false"),
        (ROW | {"tokens": 10**12}, "column tokens holds 1000000000000 in row 1"),
        (ROW | {"tokens": True}, "column tokens holds True in row 1"),
        (ROW | {"response": ["x"]}, "column response holds list"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_recorded_rollouts(write(tmp_path, [row]))


def test_rollouts_find_their_prompts_by_id_or_text_and_are_judged(tmp_path: Path) -> None:
    rows = [
        ROW | {"prompt_id": "one"},
        ROW | {"problem": " 1+1? ", "response": "none"},
        ROW | {"problem": "else"},
        ROW | {"truncated": True},
    ]
    recorded = read_recorded_rollouts(write(tmp_path, [{"truncated": False, **row} for row in rows]))
    pairs, unmatched = attach_prompts(recorded, [Prompt("one", "sums", "math", "1+1?", "2")])
    assert unmatched == 1
    judged = judge_recorded(pairs, Grading("exact"), "run", "profile", "sums")
    assert [(rollout.prompt_id, rollout.correct, rollout.grade_reason) for rollout in judged] == [
        ("one", True, "correct"),
        ("one", False, "no_answer"),
        ("one", False, "truncated"),
    ]
    assert {(rollout.source, rollout.step, rollout.stage) for rollout in judged} == {("sums", 0, "profile")}


def test_an_id_of_another_data_set_does_not_beat_the_text(tmp_path: Path) -> None:
    prompts = [Prompt("60", "s", "math", "Another problem", "204"), Prompt("61", "s", "math", "1+1?", "2")]
    (rollout,) = read_recorded_rollouts(write(tmp_path, [ROW | {"prompt_id": "60"}]))
    assert [prompt.prompt_id for _, prompt in attach_prompts([rollout], prompts)[0]] == ["61"]
    assert attach_prompts([rollout], prompts[:1]) == ([], 1)
    bare = {key: value for key, value in ROW.items() if key != "problem"} | {"prompt_id": "60"}
    (rollout,) = read_recorded_rollouts(write(tmp_path, [bare]))
    assert attach_prompts([rollout], prompts)[0][0][1].answer == "204"


def test_problems_come_with_the_rollouts_once_a_benchmark(tmp_path: Path) -> None:
    rows = [ROW | {"dataset": name, "answer": answer} for name in ("a", "b") for answer in ("2", "2", "")]
    recorded = read_recorded_rollouts(write(tmp_path, rows))
    assert [(prompt.source, prompt.answer) for prompt in own_prompts(recorded)] == [("a", "2"), ("b", "2")]
    assert [len(group) for group in cells(recorded).values()] == [3, 3]


def test_the_evaluation_takes_defaults_overrides_and_a_run_s_settings() -> None:
    configs = Path(__file__).resolve().parents[2] / "configs"
    plain = recorded_config("some/My Rollouts.parquet", overrides=["budgets_tokens=[10, 20]", 'sources=["aime25"]'])
    assert (plain.name, plain.budgets_tokens) == ("my-rollouts", (10, 20))
    assert plain.sources[0].num_problems == 30
    of_run = recorded_config("x.jsonl", str(configs / "smoke.toml"))
    assert of_run.budgets_tokens == (24, 48, 96, 192)
    assert plain.run_id("a" * 64) != plain.run_id("b" * 64)
    with pytest.raises(ValueError, match="unknown key budgets = 3"):
        recorded_config("x.jsonl", overrides=["budgets=3"])
    with pytest.raises(ValueError, match="must rise"):
        recorded_config("x.jsonl", overrides=["budgets_tokens=[20, 10]"])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [ROW | {"finish_reason": "length", "truncated": True}, ROW | {"finish_reason": "stop", "truncated": True}],
            "finish_reason = 'stop' and truncated = True in row 2 contradict each other",
        ),
        (
            [ROW | {"finish_reason": "length", "truncated": "false"}],
            "finish_reason = 'length' and truncated = False in row 1 contradict each other",
        ),
        (
            [ROW | {"sample": 0}, ROW | {"sample": 1}, ROW | {"sample": 0, "response": "other"}],
            "rows 1 and 3 are the same sample, 0, of one prompt",
        ),
        ([ROW | {"sample": None}], "column sample holds None in row 1, not a number from 0"),
        ([ROW | {"num_tokens": "twelve"}], "column num_tokens holds 'twelve' in row 1, not a number of tokens"),
        ([ROW | {"finish_reason": "abort"}], "finish_reason = 'abort' in row 1"),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_recorded_rollouts(write(tmp_path, rows))


def test_the_same_number_of_another_model_benchmark_problem_or_step_is_another_sample(tmp_path: Path) -> None:
    first = ROW | {"sample": 0, "model": "a", "dataset": "x", "prompt_id": "1", "step": 0, "finish_reason": None}
    others = [{"model": "b"}, {"dataset": "y"}, {"prompt_id": "2"}, {"problem": "another"}, {"step": 1}, {"sample": 1}]
    rows = [first, *(first | other for other in others)]
    assert len(read_recorded_rollouts(write(tmp_path, rows))) == 7
