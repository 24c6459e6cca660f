"""A program cannot make the grader work: what it sends, prints or answers costs the trusted side time linear in its length."""

import json
import time
import tracemalloc

import pytest

from pipeline_lib.grading.code import extract_program, judge_programs
from pipeline_lib.grading.code.comparison import is_same_output

FUNCTION = json.dumps({"type": "function", "entry_point": "f", "cases": [{"input": "2", "output": "[1, 2]"}]})
CHECK = json.dumps({"type": "program", "entry_point": "f", "preamble": "", "code": "assert f(2) == [1, 2]\n"})
# Written past the server of calls, straight onto the channel of its replies.
FORGED = """\
import json, os, struct
def send(text):
    view = memoryview(struct.pack('>I', len(text)) + text.encode())
    while view: view = view[os.write(5, view):]
def f(x):
    send({payload})
"""
# Multiples of 2**61 - 1 hash to 0 all.
COLLIDING = "{'i': hex(k * (2**61 - 1))}"
COLLISIONS = {
    "set": f"[{COLLIDING} for k in range(100_000)]",
    "dict": f"[[{COLLIDING}, 0] for k in range(100_000)]",
    "frozenset of tuples": f"[{{'t': [{COLLIDING}]}} for k in range(100_000)]",
}
KIND_OF = {"set": "s", "dict": "d", "frozenset of tuples": "z"}
MALFORMED = {
    "a complex number beyond floats": "json.dumps({'value': {'c': [{'i': '0x' + 'f' * 400}, 0]}})",
    "an integer of a million digits": "'{\"value\": ' + '7' * 1_000_000 + '}'",
    "an integer of a million hexadecimal digits": "'{\"value\": {\"i\": \"0x' + '7' * 1_000_000 + '\"}}'",
    "an exception that is no text": "json.dumps({'raised': {'type': {}, 'text': [1], 'line': 1}})",
    "an exception of a million texts": "json.dumps({'raised': {'type': ['x'] * 1_000_000, 'text': '', 'line': ''}})",
    "a text where parts belong": "json.dumps({'value': {'t': 'ab'}})",
    "a range of texts": "json.dumps({'value': {'r': ['a', 'b']}})",
}


@pytest.mark.parametrize("kind", COLLISIONS)
def test_chosen_hashes_do_not_hang_the_grader(kind: str) -> None:
    payload = f"json.dumps({{'value': {{{KIND_OF[kind]!r}: {COLLISIONS[kind]}}}}})"
    program = FORGED.replace("{payload}", payload)
    started, started_wall = time.process_time(), time.monotonic()
    verdicts = judge_programs([program] * 2, [FUNCTION, CHECK], timeout_seconds=20.0)
    assert time.process_time() - started < 2.0, "the grader's own work"
    assert time.monotonic() - started_wall < 15.0, "the tests' process refuses at once, before its deadline"
    assert [verdict.reason for verdict in verdicts] == ["wrong", "runtime_error"], verdicts


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_replies_are_refused(name: str) -> None:
    program = FORGED.replace("{payload}", MALFORMED[name])
    started = time.process_time()
    for verdict in judge_programs([program] * 2, [FUNCTION, CHECK], timeout_seconds=20.0):
        assert verdict.reason in ("wrong", "runtime_error") and verdict.num_passed == 0, verdict
    assert time.process_time() - started < 2.0


@pytest.mark.parametrize("depth", [140, 160, *range(900, 1000, 5), 100_000])
def test_nested_replies_never_end_the_grader(depth: int) -> None:
    """Just short of where parsing fails, whatever is done with what was parsed must not fail either."""
    from pipeline_lib.grading.code.execution import describe_error
    from pipeline_lib.grading.code.sandbox.frames import parse_payload
    from pipeline_lib.grading.code.sandbox.plain_values import Unplain, decode, decode_json

    nested = b"[" * depth + b"]" * depth
    try:
        form = parse_payload(nested)
    except RecursionError:
        return
    assert describe_error({"type": "x", "text": form, "line": ""}) == ""
    for read in (decode, decode_json):
        try:
            assert json.dumps(read(form)).encode() == nested
        except Unplain:
            assert depth > 150


def test_a_reply_that_is_read_too_late_is_a_timeout() -> None:
    """What the grader does with a result counts against the case's time, whatever the socket says."""
    program = FORGED.replace("{payload}", "'{\"value\": [' + '{\"t\": []},' * 1_000_000 + '[]]}'")
    expected = "[" + "[]," * 1_000_000 + "[]]"
    tests = json.dumps({"type": "function", "entry_point": "f", "cases": [{"input": "2", "output": expected}]})
    (verdict,) = judge_programs([program], [tests], timeout_seconds=0.4)
    assert verdict.reason == "timeout", verdict


def test_values_that_json_cannot_say_are_wrong_and_tuples_and_large_integers_are_lists_and_themselves() -> None:
    returned = {
        "(1, (2, 3))": ("[1, [2, 3]]", "correct"),
        "{'a': (1,)}": ('{"a": [1]}', "correct"),
        "2 ** 200": (str(2**200), "correct"),
        "-(10 ** 4299)": (str(-(10**4299)), "correct"),
        "complex(3, 0)": ("3", "correct"),
        "True": ("1", "correct"),
        "{1, 2}": ("[1, 2]", "wrong"),
        "{1: 2}": ('{"1": 2}', "wrong"),
        "range(2)": ("[0, 1]", "wrong"),
        "b'a'": ('"a"', "wrong"),
        "complex(3, 1)": ("3", "wrong"),
        "10 ** 5000": ("1", "wrong"),
        "f": ("1", "wrong"),
    }
    tests = [
        json.dumps({"type": "function", "entry_point": "f", "cases": [{"input": "", "output": output}]})
        for output, _ in returned.values()
    ]
    verdicts = judge_programs([f"def f(): return {value}" for value in returned], tests, timeout_seconds=20.0)
    assert [verdict.reason for verdict in verdicts] == [reason for _, reason in returned.values()], verdicts


def test_sets_and_dicts_of_a_few_members_of_one_hash_still_pass() -> None:
    code = "assert f() == {(a, b, c) for a in (-1, -2) for b in (-1, -2) for c in (-1, -2, 5)}\nassert len(g()) == 5000\n"
    tests = json.dumps({"type": "program", "entry_points": ["f", "g"], "preamble": "", "code": code})
    program = (
        "def f(): return {(a, b, c) for a in (-1, -2) for b in (-1, -2) for c in (-1, -2, 5)}\n"
        "def g(): return {i - 2500: frozenset([i]) for i in range(5000)}\n"
    )
    (verdict,) = judge_programs([program], [tests], timeout_seconds=20.0)
    assert verdict.reason == "correct", verdict


@pytest.mark.parametrize(
    ("printed", "expected"), [("1 " * 2_000_000, "1 2"), ("ab\n" * 1_000_000, "ab\ncd"), ("1 1\n" * 9, "1")]
)
def test_what_is_printed_does_not_decide_how_much_is_made_of_it(printed: str, expected: str) -> None:
    tracemalloc.start()
    try:
        assert not is_same_output(printed, expected)
        assert tracemalloc.get_traced_memory()[1] < 3 * len(printed) + 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "line", ["```" + " " * 200_000 + "`", "~" * 200_000 + "`", "`" * 200_000 + "x`", "~~~" + "\t" * 200_000 + "`"]
)
def test_a_line_that_is_no_fence_is_read_in_linear_time(line: str) -> None:
    started = time.process_time()
    assert extract_program(f"{line}\n```python\nprint(1)\n```") == "print(1)"
    assert time.process_time() - started < 1.0
