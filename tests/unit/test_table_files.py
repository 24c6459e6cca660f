"""Tables that users hand over: what is read, what is refused in one line, nothing half-written."""

import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_lib.files.tables import check_output, column_values, read_table, text_column, write_table

ROWS = [{"gold": "1,000", "n": 1, "flag": True, "parts": ["a", "b"]}, {"gold": 'x"\n', "n": 2, "flag": False, "parts": []}]


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_what_is_written_can_be_read_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"table{suffix}"
    write_table(path, pa.Table.from_pylist(ROWS))
    table = read_table(path, ["gold"])
    if suffix == ".csv":
        assert table.column("flag").to_pylist() == ["true", "false"]
        assert table.column("parts").to_pylist() == ['["a", "b"]', "[]"]
        assert text_column(table, "gold", path) == ["1,000", 'x"\n']
    else:
        assert table.to_pylist() == ROWS
    assert list(tmp_path.iterdir()) == [path]


def test_numbers_and_gaps_of_a_column_become_text(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": [1.0, 2.5, None], "b": [True, None, False], "c": ["007", "", "x"]}), path)
    table = read_table(path)
    assert text_column(table, "a", path, nullable=True) == ["1", "2.5", ""]
    assert text_column(table, "c", path) == ["007", "", "x"]
    with pytest.raises(ValueError, match="column a is empty in row 3"):
        text_column(table, "a", path)
    with pytest.raises(ValueError, match="column b holds bool in row 1, not text"):
        text_column(table, "b", path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"x", "does not end in .parquet, .jsonl, .csv"),
        ("a.csv", b"", "is empty"),
        ("a.csv", b"gold\n", "has no rows"),
        ("a.csv", b"gold,gold\n1,2\n", "column names repeat"),
        ("a.csv", b"gold,b\n1\n", "row 1 has 1 cells, the header 2"),
        ("a.csv", b"other\n1\n", "has no column gold; it has other"),
        ("a.csv", "gold\n1\né\n".encode("latin-1"), "is not UTF-8: byte 0xe9 in line 3"),
        ("a.csv", b'gold\n"1\n', "is not CSV"),
        ("a.jsonl", b'{"gold": 1}\n{"gold": \n', "line 2 is not JSON"),
        ("a.jsonl", b"[1]\n", "line 1 holds list, not an object"),
        ("a.jsonl", b'{"gold": "\\ud800"}\n', "line 1 cannot be read"),
        ("a.jsonl", b"\n\n", "has no rows"),
        ("a.jsonl", '{"gold": "ok"}\n{"gold": "ñ"}\n'.encode("utf-16"), "is not UTF-8"),
        ("a.parquet", b"PAR1 no", "is not a readable Parquet file"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_table(path, ["gold"])
    assert len(str(caught.value).splitlines()) == 1


def test_a_mark_of_byte_order_and_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"gold": "\u2028"}, ensure_ascii=False).encode())
    assert read_table(path, ["gold"]).to_pylist() == [{"gold": "\u2028"}]
    with pytest.raises(ValueError, match="no file at"):
        read_table(tmp_path / "absent.csv")


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_table(path, pa.table({"a": [1]}))
    with pytest.raises(ValueError, match="does not end in"):
        write_table(tmp_path / "a.xlsx", pa.table({"a": [1]}))
    broken = pa.table({"a": pa.array([{}], pa.struct([]))})
    with pytest.raises(pa.ArrowException):
        write_table(path, broken)
    assert read_table(path).to_pylist() == [{"a": 1}]
    assert list(tmp_path.iterdir()) == [path]


def test_mixed_huge_and_packed_values_are_read_as_text(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"gold": 1, "meta": [1]}\n{"gold": "x", "meta": "m"}\n{"gold": 123456789012345678901234567890}\n')
    table = read_table(path, ["gold"])
    assert text_column(table, "gold", path) == ["1", "x", "123456789012345678901234567890"]
    assert column_values(table, "meta") == [[1], "m", None]
    packed = tmp_path / "b.parquet"
    pq.write_table(pa.table({"gold": pa.array(["a", "b", "a"]).dictionary_encode()}), packed)
    assert text_column(read_table(packed), "gold", packed) == ["a", "b", "a"]


def test_an_output_that_cannot_be_written_is_found_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        check_output(tmp_path / "folder.csv")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="cannot be written"):
        check_output(tmp_path / "file" / "out.csv")
    check_output(tmp_path / "new" / "out.csv")


@pytest.mark.parametrize("meta", [{}, [{}], {"a": [{}]}])
def test_an_empty_object_survives_every_format(tmp_path: Path, meta: object) -> None:
    source = tmp_path / "a.jsonl"
    source.write_text(json.dumps({"gold": "5", "meta": meta}) + "\n")
    table = read_table(source)
    assert column_values(table, "meta") == [meta]
    for suffix in (".parquet", ".jsonl", ".csv"):
        write_table(tmp_path / f"b{suffix}", table)
        (cell,) = column_values(read_table(tmp_path / f"b{suffix}"), "meta")
        assert (cell if suffix == ".jsonl" else json.loads(cell)) == meta


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.large_list(pa.float32()), pa.list_(pa.float32(), 2)])
def test_short_floats_in_lists_are_the_decimals_they_stand_for(kind: pa.DataType) -> None:
    assert column_values(pa.table({"a": pa.array([[0.1, 0.2], None], kind)}), "a") == [[0.1, 0.2], None]


def test_what_json_does_not_know_is_null_or_text_and_a_gap_in_a_csv(tmp_path: Path) -> None:
    table = pa.table({"gold": ["5", "6"], "a": [math.nan, -math.inf], "b": [[math.nan, math.inf, 1.0], None]})
    write_table(tmp_path / "a.jsonl", table)

    def refuse(text: str) -> None:
        raise AssertionError(text)

    rows = [json.loads(line, parse_constant=refuse) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert rows == [{"gold": "5", "a": None, "b": [None, "inf", 1.0]}, {"gold": "6", "a": "-inf", "b": None}]
    write_table(tmp_path / "a.csv", table)
    written = read_table(tmp_path / "a.csv")
    assert written["a"].to_pylist() == [None, "-inf"]
    assert json.loads(written["b"].to_pylist()[0]) == [None, "inf", 1.0]
