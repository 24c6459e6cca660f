"""Prompts from files, the tiny world and the hub; the seeded draw; the refusals."""

import json
import logging
import socket
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_lib.config import PromptSource
from pipeline_lib.files.tables import text_of
from pipeline_lib.prompts import load_prompts
from pipeline_lib.prompts.collecting import digest_problem

ROWS = [
    {"problem": " What is 1+1? ", "answer": "2", "number": 1},
    {"problem": "Which primes are below 6?", "answer": ["2", "3", "5"], "number": 2},
    {"problem": "What is  1+1?", "answer": "2", "number": 1},
    {"problem": "Unanswered", "answer": None, "number": 3},
    {"problem": "Blank", "answer": "  ", "number": 4},
]

UNTESTED = {"tests": None, "tolerance": None}


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def file_source(path: Path, **settings) -> PromptSource:
    return PromptSource(name="local", kind="file", path=str(path), **settings)


def many_rows(count: int) -> list[dict]:
    return [{"problem": f"What is {number} + 1?", "answer": str(number + 1)} for number in range(count)]


def test_a_file_gives_prompts_with_stable_ids(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        prompts = load_prompts(file_source(write_jsonl(tmp_path / "a.jsonl", ROWS), domain="arithmetic"))
    assert [asdict(prompt) for prompt in prompts] == [
        # The first 16 digits of: printf 'What is 1+1?' | sha256sum
        {"prompt_id": "31adf3e245f99d7b", "source": "local", "domain": "arithmetic", "problem": "What is 1+1?", "answer": "2"}
        | UNTESTED,
        {
            "prompt_id": digest_problem("Which primes are below 6?"),
            "source": "local",
            "domain": "arithmetic",
            "problem": "Which primes are below 6?",
            "answer": "2, 3, 5",
        }
        | UNTESTED,
    ]
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("pipeline_lib")]
    assert messages == [
        "prompt source 'local': 1 rows left out: exact_duplicate",
        "prompt source 'local': 2 rows left out: empty_answer",
    ]


def test_parquet_and_jsonl_of_a_folder_are_read_in_order(tmp_path):
    (tmp_path / "b").mkdir()
    write_jsonl(tmp_path / "b" / "later.jsonl", many_rows(3))
    pq.write_table(pa.Table.from_pylist([{"problem": "first", "answer": 7.0}]), tmp_path / "a.parquet")
    (tmp_path / "notes.txt").write_text("not data", encoding="utf-8")
    prompts = load_prompts(file_source(tmp_path))
    assert [(prompt.problem, prompt.answer) for prompt in prompts] == [("first", "7")] + [
        (row["problem"], row["answer"]) for row in many_rows(3)
    ]


def test_the_id_field_is_used_and_must_tell_problems_apart(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", ROWS)
    assert [prompt.prompt_id for prompt in load_prompts(file_source(path, id_field="number"))] == ["1", "2"]
    clash = write_jsonl(tmp_path / "b.jsonl", [row | {"number": 1} for row in ROWS])
    with pytest.raises(ValueError, match="id_field = 'number' gives '1' to two problems"):
        load_prompts(file_source(clash, id_field="number"))


def test_the_draw_is_seeded_and_independent_of_file_order(tmp_path):
    forward = write_jsonl(tmp_path / "forward.jsonl", many_rows(40))
    backward = write_jsonl(tmp_path / "backward.jsonl", many_rows(40)[::-1])
    ten, again, other, reversed_ten, twenty = (
        [prompt.prompt_id for prompt in load_prompts(file_source(path, num_prompts=count, seed=seed))]
        for path, count, seed in [(forward, 10, 1), (forward, 10, 1), (forward, 10, 2), (backward, 10, 1), (forward, 20, 1)]
    )
    assert len(set(ten)) == 10 and ten == again and ten == reversed_ten[::-1]
    assert set(ten) != set(other)
    assert set(ten) < set(twenty)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_prompts": 41}, "num_prompts = 41 is above the 40 it holds"),
        ({"answer_field": "gold"}, "answer_field = 'gold' is not one of the columns problem, answer"),
        ({"id_field": "uid"}, "id_field = 'uid' is not one of the columns problem, answer"),
    ],
)
def test_user_mistakes_are_named(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        load_prompts(file_source(write_jsonl(tmp_path / "a.jsonl", many_rows(40)), **settings))


def test_paths_that_hold_no_prompts_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "table.txt").write_text("problem,answer\n", encoding="utf-8")
    (tmp_path / "broken.jsonl").write_text("{not json", encoding="utf-8")
    for name, message in [
        ("missing", "is neither a .parquet, .jsonl or .csv file nor a folder with one"),
        ("empty", "is neither a .parquet, .jsonl or .csv file nor a folder with one"),
        ("table.txt", "is not a .parquet, .jsonl or .csv file"),
        ("broken.jsonl", "broken.jsonl: line 1 is not JSON"),
    ]:
        with pytest.raises(ValueError, match=message):
            load_prompts(file_source(tmp_path / name))
    with pytest.raises(ValueError, match="holds no problem with an answer"):
        load_prompts(file_source(write_jsonl(tmp_path / "blank.jsonl", ROWS[3:])))
    with pytest.raises(ValueError, match="problem_field = 'problem' holds list, not text"):
        load_prompts(file_source(write_jsonl(tmp_path / "chat.jsonl", [{"problem": [{"role": "user"}], "answer": "1"}])))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (" 3/4 ", "3/4"),
        (7, "7"),
        (7.0, "7"),
        (0.25, "0.25"),
        (["1", None, 2], "1, 2"),
        ([["1", "2"], ["3"]], "1, 2, 3"),
        ({"b": 1, "a": "é"}, '{"a": "é", "b": 1}'),
    ],
)
def test_nested_answers_become_text(value, text):
    assert text_of(value) == text


def test_the_digest_ignores_white_space_and_unicode_form():
    assert digest_problem("Caf\u00e9  x\n") == digest_problem("Cafe\u0301 x")
    assert digest_problem("x+1") != digest_problem("x+2")


def test_tiny_prompts_carry_the_name_of_their_source():
    source = PromptSource(name="held-out", kind="tiny", family="wheel", split="test", num_prompts=12, seed=3, max_operations=3)
    prompts = load_prompts(source)
    assert len({prompt.prompt_id for prompt in prompts}) == 12
    assert {prompt.source for prompt in prompts} == {"held-out"}
    assert prompts == load_prompts(source)


def test_without_network_the_hub_error_names_both_ways_out(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise socket.gaierror("no network in this test")

    import datasets
    import huggingface_hub.constants

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"connect to the network, or .* set kind = 'file'") as error:
        load_prompts(PromptSource(name="hub", kind="hub", path="someone/no-such-dataset"))
    assert len(str(error.value).splitlines()) == 1
