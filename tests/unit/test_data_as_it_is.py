"""Data as they arrive: what the libraries below guess, round or refuse is read as it is written, whatever the file's format."""

import datetime
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_lib.config import PromptSource
from pipeline_lib.evaluation.recorded_rollouts import read_recorded_rollouts
from pipeline_lib.files.tables import column_values, read_table, text_column, write_table
from pipeline_lib.grading.files import grade_file
from pipeline_lib.promotions.plan import unseen_prompts
from pipeline_lib.prompts import load_source
from pipeline_lib.prompts.tables import _rows


def golds_of_prompts(path: Path) -> list[str]:
    return [prompt.answer for prompt in load_source(PromptSource(name="t", kind="file", path=str(path))).prompts.values()]


def golds_of_rollouts(path: Path) -> list[str]:
    return [rollout.answer for rollout in read_recorded_rollouts(path)]


def golds_of_grade(path: Path) -> list[str]:
    return text_column(read_table(path), "gold", path, nullable=True, of_answers=True)


READERS: dict[str, Callable[[Path], list[str]]] = {
    "prompts": golds_of_prompts,
    "rollouts": golds_of_rollouts,
    "grade": golds_of_grade,
}


def jsonl(path: Path, answers: list[str]) -> Path:
    """A file that all three readers take; `answers` are JSON texts."""
    lines = [
        f'{{"problem": "p{row}", "answer": {answer}, "gold": {answer}, "response": "r", "prediction": "r", "num_tokens": 1}}\n'
        for row, answer in enumerate(answers)
    ]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def parquet(path: Path, answers: pa.Array) -> Path:
    count = len(answers)
    texts = {name: ["r"] * count for name in ("response", "prediction")}
    problems = [f"p{row}" for row in range(count)]
    pq.write_table(
        pa.table({"problem": problems, "answer": answers, "gold": answers, **texts, "num_tokens": [1] * count}), path
    )
    return path


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("answers", "right"),
    [
        (['"2024-01-05"', '"2023-12-31"'], ["2024-01-05", "2023-12-31"]),
        (['"2020-01-01T00:00:00"', '"12:30"'], ["2020-01-01T00:00:00", "12:30"]),
        (["9007199254740993", "0.5"], ["9007199254740993", "0.5"]),
        (["9223372036854775807", "18446744073709551615"], ["9223372036854775807", "18446744073709551615"]),
        (["123456789012345678901234567890", "5"], ["123456789012345678901234567890", "5"]),
        (["1" * 5000, "-9223372036854775809"], ["1" * 5000, "-9223372036854775809"]),
        (["3.14159265358979323846", "2.5"], ["3.14159265358979323846", "2.5"]),
        (["1e400", "1E3", "1e-7"], ["1e400", "1000", "1e-07"]),
        (["0.1", "7.0", "1e23"], ["0.1", "7", "100000000000000000000000"]),
        (["5", '"1/2"', "0.5"], ["5", "1/2", "0.5"]),
        (['["1", "2"]', '"3"'], ["1, 2", "3"]),
        (["[1, 9007199254740993]", "[0.5, null]"], ["1, 9007199254740993", "0.5"]),
        (["true", '"x"', "12"], ["True", "x", "12"]),
        (['{"b": 1}', '{"a": "é"}'], ['{"b": 1}', '{"a": "é"}']),
        (['"007"', '"1,000"', '"null"', '"NaN"', '" NA"'], ["007", "1,000", "null", "NaN", "NA"]),
    ],
)
def test_answers_of_json_are_what_is_written(tmp_path: Path, reader: str, answers: list[str], right: list[str]) -> None:
    read = READERS[reader](jsonl(tmp_path / "a.jsonl", answers))
    assert [answer.strip() for answer in read] == right


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("answers", "right"),
    [
        (pa.array([0.1, 33.3, 5.0, 16777216.0], pa.float32()), ["0.1", "33.3", "5", "16777216"]),
        (pa.array(np.array([0.1, 33.3], np.float16)), ["0.1", "33.3"]),
        (pa.array([[0.1, 2.0]], pa.list_(pa.float32())), ["0.1, 2"]),
        (pa.array([b"12", "é".encode()], pa.binary()), ["12", "é"]),
        (pa.array([Decimal("1.50"), Decimal("100.00")]), ["1.5", "100"]),
        (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
        (pa.array([datetime.date(2024, 1, 5)]), ["2024-01-05"]),
        (pa.array([datetime.datetime(2024, 1, 5, 12, 30)]), ["2024-01-05 12:30:00"]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
        (pa.array(["x"], pa.large_string()), ["x"]),
        (pa.array(["x"], pa.string_view()), ["x"]),
        (pa.array([1e22, 0.25]), ["10000000000000000000000", "0.25"]),
    ],
)
def test_answers_of_parquet_are_what_their_type_stands_for(
    tmp_path: Path, reader: str, answers: pa.Array, right: list[str]
) -> None:
    assert READERS[reader](parquet(tmp_path / "a.parquet", answers)) == right


@pytest.mark.parametrize("reader", READERS)
def test_a_csv_is_text(tmp_path: Path, reader: str) -> None:
    path = tmp_path / "a.csv"
    answers = ["007", "1,000", "1e3", "NA", "null", "true", "2024-01-05", "0.10", "9" * 30, "a\nb", "x\0y"]
    write_table(path, pa.table(pq.read_table(parquet(tmp_path / "a.parquet", pa.array(answers)))))
    assert READERS[reader](path) == answers


@pytest.mark.parametrize("reader", READERS)
def test_what_is_missing_is_no_answer(tmp_path: Path, reader: str) -> None:
    for path in (
        jsonl(tmp_path / "a.jsonl", ["NaN", "1", "null"]),
        jsonl(tmp_path / "b.jsonl", ["NaN", '"1"', "null"]),
        parquet(tmp_path / "a.parquet", pa.array([float("nan"), 1.0, None])),
    ):
        assert [answer for answer in READERS[reader](path) if answer] == ["1"]


@pytest.mark.parametrize("reader", READERS)
def test_a_type_that_changes_late_and_keys_that_come_and_go(tmp_path: Path, reader: str) -> None:
    """More rows than are read at once, and more bytes than the block that a type would be guessed from."""
    path = tmp_path / "a.jsonl"
    many = [{"problem": f"{row}", "answer": None, "gold": None, "num_tokens": 1} for row in range(12_500)]
    many[0]["response"] = many[0]["prediction"] = "x" * 11_000_000
    late = [{"problem": "last", "answer": "7", "gold": "7"}, {"problem": "more", "answer": 8.5, "gold": 8.5}]
    lines = [json.dumps(row | {"num_tokens": 1, "extra": number}) for number, row in enumerate([*many, *late])]
    path.write_text("\n".join([*lines, '{"problem": "bare", "num_tokens": 2}']), encoding="utf-8")
    assert [answer for answer in READERS[reader](path) if answer] == ["7", "8.5"]
    if reader == "prompts":
        left = load_source(PromptSource(name="t", kind="file", path=str(path))).left_out
        assert (len(left), {row.cause for row in left}) == (12_501, {"empty_answer"})


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"", "a.jsonl is empty"),
        ("a.jsonl", b"\n \n", "a.jsonl has no rows"),
        ("a.csv", b"problem,answer\n", "a.csv has no rows"),
        ("a.parquet", b"", "a.parquet is empty"),
        ("a.parquet", b"version https://git-lfs.github.com/spec/v1\n", "is not a readable Parquet file"),
        ("a.jsonl", b'{"answer": 1, "answer": 2}\n', "line 1 cannot be read: the key 'answer' stands twice"),
        ("a.jsonl", b'{"answer": 1}\n{"answer": 2', "line 2 is not JSON"),
        ("a.jsonl", b'{"answer": 1} {"answer": 2}\n', "line 1 is not JSON"),
        ("a.jsonl", b'[{"answer": 1}]\n', "line 1 holds list, not an object"),
        ("a.jsonl", b"\x1f\x8b\x08", "is not UTF-8: byte 0x8b in line 1"),
    ],
)
def test_broken_files_are_told_in_one_line(tmp_path: Path, reader: str, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        READERS[reader](tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("reader", READERS)
def test_bytes_that_are_no_text_are_refused(tmp_path: Path, reader: str) -> None:
    path = parquet(tmp_path / "a.parquet", pa.array([b"1", b"\xff\xfe"], pa.binary()))
    with pytest.raises(ValueError, match=r"(answer|gold).* holds bytes that are not UTF-8"):
        READERS[reader](path)


def test_columns_that_are_not_asked_for_may_hold_anything(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    picture = pa.array([{"bytes": b"\xff\xd8", "path": "a.jpg"}])
    pq.write_table(
        pa.table({"problem": [b"p"], "answer": ["1"], "image": picture, "at": pa.array([1], pa.timestamp("ns"))}), path
    )
    assert golds_of_prompts(path) == ["1"]


def test_a_folder_named_like_a_partition_is_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "answer=5"
    folder.mkdir()
    assert golds_of_prompts(parquet(folder / "a.parquet", pa.array(["1"]))) == ["1"]
    twice = pa.Table.from_arrays([pa.array([text]) for text in ("p", "1", "2")], ["problem", "answer", "answer"])
    pq.write_table(twice, folder / "a.parquet")
    with pytest.raises(ValueError, match="column names repeat in problem, answer, answer"):
        golds_of_prompts(folder)


def test_a_problem_may_look_like_a_date_and_lack_like_an_answer(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"problem": "2020-01-01T00:00:00", "answer": "1"}\n{"problem": NaN, "answer": "2"}\n')
    content = load_source(PromptSource(name="t", kind="file", path=str(path)))
    assert [prompt.problem for prompt in content.prompts.values()] == ["2020-01-01T00:00:00"]
    assert [left.cause for left in content.left_out] == ["empty_problem"]


def test_floats_of_hub_data_sets_are_short_too() -> None:
    from datasets import Dataset, Features, Value

    features = Features({"answer": Value("float32"), "other": Value("float64")})
    rows = list(_rows(Dataset.from_dict({"answer": [0.1, None], "other": [0.1, 0.2]}, features=features)))
    assert rows == [{"answer": 0.1, "other": 0.1}, {"answer": None, "other": 0.2}]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".csv"])
def test_what_was_read_can_be_written_in_any_format(tmp_path: Path, suffix: str) -> None:
    table = read_table(jsonl(tmp_path / "a.jsonl", ["1", '"x"', "18446744073709551615", '{"a": [1]}', "null"]))
    write_table(tmp_path / f"b{suffix}", table)
    again = read_table(tmp_path / f"b{suffix}")
    as_text = ["1", "x", "18446744073709551615", '{"a": [1]}', None]
    values = [1, "x", "18446744073709551615", {"a": [1]}, None]
    assert column_values(again, "answer") == (values if suffix == ".jsonl" else as_text)


TOLERANCES = ["Infinity", "-Infinity", "NaN", "-5", '"inf"', '"nan"', '"-1e-9"', "1e400", "true", '"a"']


@pytest.mark.parametrize("tolerance", TOLERANCES)
def test_a_tolerance_that_is_none_is_refused_before_anything_is_judged(tmp_path: Path, tolerance: str) -> None:
    path, judged = tmp_path / "a.jsonl", []
    path.write_text(f'{{"gold": "1.0", "prediction": "1.05", "tolerance": {tolerance}}}\n')
    with pytest.raises(ValueError, match=r"tolerance = .* in row 1: a tolerance is a finite number of at least 0"):
        grade_file(path, tmp_path / "out.jsonl", on_start=judged.append)
    assert not judged and not (tmp_path / "out.jsonl").exists()
    path.write_text(f'{{"problem": "p", "answer": "1.0", "error": {tolerance}}}\n')
    for rule in (None, "olympiadbench") if tolerance != "true" else (None,):
        source = PromptSource(name="t", kind="file", path=str(path), tolerance_field="error", tolerance_rule=rule)
        with pytest.raises(ValueError, match="tolerance_field = 'error' holds"):
            load_source(source)


def test_rows_without_gold_are_counted(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"gold": str(row), "prediction": str(row), "label": True} for row in range(2_000)]
    rows[7]["gold"] = None
    rows[8]["gold"] = "  "
    del rows[9]["gold"]
    path, out = tmp_path / "a.jsonl", tmp_path / "out.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done: list[int] = []
    (summary,) = grade_file(path, out, "exact", on_done=done.append)
    assert (summary["answers"], summary["correct"], summary["not correct"]) == (2_000, 1_997, "no_gold 3")
    assert (summary["agree with label (%)"], summary["false negatives"], sum(done)) == ("100.00", 0, 2_000)
    graded = list(map(json.loads, out.read_text().splitlines()))
    assert [(row["correct"], row["reason"]) for row in graded[6:10]] == [(True, "correct")] + [(None, "no_gold")] * 3


def test_new_prompts_of_a_retraining_are_what_the_file_says(tmp_path: Path) -> None:
    answers = ["1", '"x"', "18446744073709551615", '["1", 2]', '{"b": 1}', '{"a": 9007199254740993}']
    source = PromptSource(name="t", kind="file", path=str(jsonl(tmp_path / "a.jsonl", answers)))
    prompts = load_source(source).prompts
    unseen = unseen_prompts(source, list(prompts)[:1], tmp_path / "new.parquet")
    assert unseen is not None
    assert list(load_source(unseen).prompts.values()) == list(prompts.values())[1:]
