"""Prompts of Reasoning Gym: the same seed gives the same problems in every process, other seeds give others, and mistakes are one line."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib.config import PromptSource, RunConfig, load_config
from pipeline_lib.grading import functions, grade_prompts
from pipeline_lib.grading.pool import worker_pool
from pipeline_lib.prompts import load_prompts, load_source
from pipeline_lib.prompts.local_copies import source_identity
from pipeline_lib.records import Prompt
from pipeline_lib.selection.training_prompts import clean_source, require_clean_examples

pytest.importorskip("reasoning_gym", reason="the extra laconic[gym] is not installed")
CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def gym(**settings: Any) -> PromptSource:
    return PromptSource.model_validate({"name": "g", "kind": "gym", "task": "chain_sum", "num_prompts": 20, **settings})


def test_a_source_is_the_same_in_every_process_and_another_seed_is_another() -> None:
    # Both draw from sets of texts, whose order Python shuffles in every process.
    source = gym(task=["isomorphic_strings", "ransom_note"], num_prompts=6)
    here = [prompt.problem for prompt in load_prompts(source)]
    script = (
        "import json, sys; from pipeline_lib.config import PromptSource; from pipeline_lib.prompts import load_prompts\n"
        "print(json.dumps([p.problem for p in load_prompts(PromptSource.model_validate_json(sys.argv[1]))]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", script, source.model_dump_json()], env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == here
    seeds = [{prompt.prompt_id for prompt in load_prompts(gym(num_prompts=200, seed=seed))} for seed in (0, 1, 2)]
    assert [len(ids) for ids in seeds] == [200] * 3
    assert not seeds[0] & seeds[1] and not seeds[1] & seeds[2]


def test_families_take_turns_and_are_the_domains() -> None:
    prompts = load_prompts(gym(task=["gcd", "chain_sum"], parameters={"gcd": {"max_value": 50}}, num_prompts=5))
    assert [prompt.domain for prompt in prompts] == ["gcd", "chain_sum", "gcd", "chain_sum", "gcd"]
    assert len({prompt.prompt_id for prompt in prompts}) == 5


def test_it_is_graded_by_its_own_scorer() -> None:
    source = gym(num_prompts=1)
    (prompt,) = load_prompts(source)
    gold = prompt.answer
    responses = {
        f"It is <answer>{gold}</answer>": "correct",
        f"<answer>1</answer> no, <answer>\n{gold}\n</answer>": "correct",
        f"It is \\boxed{{{gold}}}": "correct",
        f"<answer>{gold} apples</answer>": "wrong: score",
        "<answer>x</answer>": "wrong",
        f"It is {gold}": "no_answer",
        f"<answer>{gold}": "no_answer",
    }
    grades = grade_prompts(source, list(responses), [prompt] * len(responses), ["stop"] * len(responses))
    assert [grade.reason.rpartition(" ")[0] or grade.reason for grade in grades] == list(responses.values())
    lenient = gym(num_prompts=1, correct_score=0.1)
    assert grade_prompts(lenient, [f"<answer>{gold} apples</answer>"], [prompt], ["stop"])[0].correct
    assert source.template == "tags" and "<answer>" in source.user_suffix


CODE = "__import__('pathlib').Path({path!r}).touch()"


def test_an_answer_that_is_code_is_wrong_and_not_run(tmp_path: Path) -> None:
    """By `eval`, by sympy's parser, and by the same under a name of the module's own."""
    written = tmp_path / "written"
    attacks = [CODE.format(path=str(written)), "exec(chr(112))", "(1).__class__", "x.free_symbols", "[].append(1)"]
    for task in ("spiral_matrix", "simple_integration", "countdown"):
        source = gym(task=task, num_prompts=1, grading_seconds=1)
        (prompt,) = load_prompts(source)
        endless = ["9**9**9**9"] if task == "countdown" else []
        responses = [f"<answer>{attack}</answer>" for attack in [*attacks, *endless, prompt.answer]]
        grades = grade_prompts(source, responses, [prompt] * len(responses), ["stop"] * len(responses))
        assert [grade.correct for grade in grades] == [False] * (len(responses) - 1) + [True]
        assert [grade.reason for grade in grades[5:-1]] == ["timeout"] * len(endless)
        assert not written.exists()


def test_problems_of_several_right_answers_have_no_gold_one_and_tuples_survive() -> None:
    colours, grid = (load_prompts(gym(task=task, num_prompts=1))[0] for task in ("graph_color", "arc_agi"))
    assert colours.answer == "" and colours.tests
    assert load_source(gym(task="graph_color", num_prompts=3)).left_out == []
    source = gym(task="arc_agi", num_prompts=1)
    assert grade_prompts(source, [f"<answer>{grid.answer}</answer>"], [grid], ["stop"])[0].correct


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"task": "chain_sun"}, "prompt source 'g': Reasoning Gym: 'chain_sun' is not one of the .* tasks; near: chain_sum"),
        ({"parameters": {"terms": 3}}, "task 'chain_sum' has no parameter terms; it has .*min_terms"),
        ({"parameters": {"min_terms": 0}}, "task 'chain_sum' refuses its parameters: min_terms must be positive"),
        ({"task": "coin_flip", "parameters": {"min_trials": 1, "max_trials": 1}}, "no more than 4 different problems"),
    ],
)
def test_a_mistake_is_one_line(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as raised:
        load_prompts(gym(**settings))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"task": None}, "task is needed"),
        ({"num_prompts": None}, "num_prompts is needed for kind = 'gym'"),
        ({"task": ["gcd", "chain_sum"], "parameters": {"max_terms": 3}}, "a table each, by their names: not max_terms"),
        ({"seed": 4001}, "seed = 4001 is above 4000"),
        ({"kind": "tiny", "grader": "gym"}, "grader = 'gym' is for kind = 'gym'"),
        ({"grader": "python"}, "needs function"),
        ({"function": "a:b"}, "function is for grader = 'python', not 'gym'"),
    ],
)
def test_what_does_not_fit_together_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        gym(**settings)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functions, "gym_version", lambda: None)
    with pytest.raises(ValueError, match=r"pip install 'laconic\[gym\]'"):
        load_prompts(gym(num_prompts=3))


def test_the_shipped_configuration_trains_on_nothing_that_it_is_judged_on() -> None:
    config = load_config(CONFIGS / "gym.toml", ["prompts.num_prompts=60"])
    assert [sorted(benchmark.tasks) for benchmark in config.evaluate.benchmarks] == [
        ["chain_sum", "leg_counting"],
        ["knights_knaves"],
        ["calendar_arithmetic"],
    ]
    content = load_source(config.prompts)
    assert all(verdict.kept for verdict in clean_source(config, content)), "a family's wording is no overlap"
    # The same problems as a benchmark's are found and taken out.
    same = config.model_copy(update={"prompts": config.evaluate.benchmarks[0].model_copy(update={"num_prompts": 20})})
    causes = {verdict.reason for verdict in clean_source(same, load_source(same.prompts))}
    assert causes == {"benchmark_text"}


def test_an_example_of_a_family_is_none_of_its_problems_by_wording_alone() -> None:
    benchmark = gym(task="leg_counting", seed=2)

    def asked(example: Prompt) -> RunConfig:
        judged = 'evaluate.benchmarks=[{name="g", kind="gym", task="leg_counting", num_prompts=20, seed=2}]'
        turns = f'examples=[{{problem={json.dumps(example.problem)}, response="<answer>4</answer>"}}]'
        return load_config(CONFIGS / "smoke.toml", [judged, turns])

    (other,) = load_prompts(gym(task="leg_counting", seed=7, num_prompts=1))
    require_clean_examples(asked(other))
    same = load_prompts(benchmark)[3]
    with pytest.raises(ValueError, match=f"is {same.prompt_id} of g"):
        require_clean_examples(asked(same))


def test_the_version_of_the_package_belongs_to_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline_lib.prompts import local_copies

    before = source_identity(gym())
    monkeypatch.setattr(local_copies, "gym_version", lambda: "0.0.1")
    assert source_identity(gym()) != before


def test_a_request_that_is_no_answer_leaves_the_workers_well() -> None:
    pool = worker_pool(functions.gym_program())
    broken = Prompt("p", "s", "d", "q", "a", tests='{"task": "chain_sum", "parameters": {}, "metadata": "(", "gold": "a"}')
    (outcome,) = pool.judge([functions.gym_request("1", broken)], 5.0)
    assert outcome.reason == "error"
