"""Which run a word means, what an error offers instead, and which rollouts of a run are worth a look."""

from datetime import UTC, datetime
from typing import Any

import pytest

from pipeline_lib.runs.rollout_examples import pick_interesting
from pipeline_lib.runs.run_names import is_config, resolve_run

RUNS = [
    {"run_id": "demo-11111111", "name": "demo", "started_at": datetime(2026, 3, 1, tzinfo=UTC)},
    {"run_id": "demo-control-22222222", "name": "demo-control", "started_at": datetime(2026, 3, 1, tzinfo=UTC)},
    {"run_id": "twice-33333333", "name": "twice", "started_at": datetime(2026, 1, 1, tzinfo=UTC)},
    {"run_id": "twice-44444444", "name": "twice", "started_at": datetime(2026, 2, 1, tzinfo=UTC)},
    {"run_id": "never-55555555", "name": "never", "started_at": None},
]


@pytest.mark.parametrize(
    ("word", "run_id"),
    [
        ("demo-11111111", "demo-11111111"),
        ("demo", "demo-11111111"),  # a name comes before the beginnings of ids
        ("demo-1", "demo-11111111"),
        ("demo-c", "demo-control-22222222"),
        ("twice-4", "twice-44444444"),
        ("nev", "never-55555555"),
    ],
)
def test_a_run_is_found_by_id_name_or_beginning(word: str, run_id: str) -> None:
    assert resolve_run(word, RUNS) == run_id


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("twice", r"'twice' is the name of 2 runs; give the id of one: twice-44444444, twice-33333333"),
        ("dem", r"'dem' is how the ids begin of 2 runs.*demo-11111111, demo-control-22222222"),
        ("demo-contrl", r"no run 'demo-contrl'; the nearest are demo-control-22222222"),
        ("zzz", r"no run 'zzz'; the newest are demo-11111111.*never-55555555"),
        ("", r"no run ''"),
    ],
)
def test_an_error_lists_candidates(word: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        resolve_run(word, RUNS)


def test_an_empty_store_says_so() -> None:
    with pytest.raises(ValueError, match="the store has no runs yet"):
        resolve_run("demo", [])


def test_a_long_list_of_candidates_is_cut() -> None:
    many = [{"run_id": f"same-{place:08}", "name": "same", "started_at": None} for place in range(20)]
    with pytest.raises(ValueError, match="same-00000007 and 12 more"):
        resolve_run("same", many)


def test_a_configuration_is_told_from_a_run() -> None:
    assert is_config("configs/demo.toml")
    assert is_config("gone.toml")
    assert not is_config("demo")


def row(prompt: str, sample: int, tokens: int, correct: bool, step: int) -> dict[str, Any]:
    return {
        "benchmark": "sums",
        "prompt_id": prompt,
        "sample_index": sample,
        "num_tokens": tokens,
        "correct": correct,
        "rollout_id": f"r/evaluate/m-{step}/{prompt}/{sample}",
    }


def test_interesting_rollouts_are_one_a_prompt_in_order() -> None:
    before = [row("a", 0, 90, False, 0), row("a", 1, 95, False, 0), row("b", 0, 50, True, 0), row("c", 0, 30, True, 0)]
    after = [row("a", 0, 40, True, 6), row("a", 1, 20, True, 6), row("b", 0, 60, False, 6), row("c", 0, 10, True, 6)]
    found = pick_interesting({(each["benchmark"], each["prompt_id"], each["sample_index"]): each for each in before}, after)
    listed = [(each.why, each.rollout_id, each.tokens_before) for each in found]
    assert listed == [
        ("longest", "r/evaluate/m-6/b/0", 50),
        ("longest", "r/evaluate/m-6/a/0", 90),
        ("longest", "r/evaluate/m-6/c/0", 30),
        ("shortest correct", "r/evaluate/m-6/c/0", 30),
        ("shortest correct", "r/evaluate/m-6/a/1", 95),
        ("fixed by training", "r/evaluate/m-6/a/1", 95),
        ("broken by training", "r/evaluate/m-6/b/0", 50),
    ]


def test_of_the_flipped_those_that_got_shorter_most_come_first() -> None:
    before = {("sums", prompt, 0): row(prompt, 0, tokens, False, 0) for prompt, tokens in (("a", 12), ("b", 100), ("c", 60))}
    found = pick_interesting(before, [row("a", 0, 10, True, 6), row("b", 0, 40, True, 6), row("c", 0, 20, True, 6)])
    fixed = [(each.tokens_before, each.num_tokens) for each in found if each.why == "fixed by training"]
    assert fixed == [(100, 40), (60, 20), (12, 10)]


def test_without_a_base_nothing_is_called_fixed() -> None:
    found = pick_interesting({}, [row("a", 0, 40, True, 6)])
    assert [(each.why, each.tokens_before) for each in found] == [("longest", None), ("shortest correct", None)]
