"""Graders that are functions: called in processes of their own, and whatever they do is a verdict with a reason."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from pipeline_lib.grading import Grading, grade_prompts
from pipeline_lib.grading.functions import function_digest, function_problem
from pipeline_lib.records import Prompt

JUDGE = """
import os, subprocess, sys, time

def grade(response, prompt):
    print("noise", flush=True)
    sys.stderr.write("noise")
    return eval(response, {"prompt": prompt, "os": os, "sys": sys, "time": time, "huge": "x" * 10**6, "start": start, "exit": exit_now})

def start():
    return subprocess.Popen(["sleep", "60"]).pid

def exit_now():
    os._exit(3)

def one(response): ...
def keyword(response, *, prompt): ...
NUMBER = 7
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_judges").mkdir()
    (tmp_path / "my_judges" / "__init__.py").touch()
    (tmp_path / "my_judges" / "judge.py").write_text(JUDGE)
    (tmp_path / "my_judges" / "broken.py").write_text("import no_such_package\n")
    (tmp_path / "my_judges" / "ends.py").write_text("raise SystemExit(1)\n")
    monkeypatch.chdir(tmp_path)


def reasons(responses: list[str], function: str = "my_judges.judge:grade", **settings: float) -> list[str]:
    prompts = [Prompt("p1", "s", "d", "1 + 1", "2", tests='{"unit": "cm"}')] * len(responses)
    grades = grade_prompts(Grading("python", function, **settings), responses, prompts, ["stop"] * len(responses))
    assert [grade.correct for grade in grades] == [grade.reason.partition(":")[0] == "correct" for grade in grades]
    return [grade.reason for grade in grades]


def test_what_a_function_returns_is_a_verdict() -> None:
    returned = {
        "True": "correct",
        "False": "wrong",
        "1": "correct",
        "0.75": "wrong: score 0.75",
        "(0.75, 'close')": "wrong: score 0.75; close",
        "(True, None)": "correct",
        "(False, 'no\\n\\x1b[31m unit')": "wrong: no",
        "prompt['answer'] == '2' and prompt['problem'] == '1 + 1' and prompt['metadata']['unit'] == 'cm'": "correct",
        "__import__('numpy').bool_(True)": "correct",
        "__import__('numpy').float32(0.5)": "wrong: score 0.5",
    }
    found = reasons(list(returned))
    assert [reason if not reason.startswith("wrong: no") else "wrong: no" for reason in found] == list(returned.values())
    assert "\x1b" not in found[6] and "\n" not in found[6]
    assert reasons(["0.75", "0.25"], correct_score=0.5) == ["correct: score 0.75", "wrong: score 0.25"]


@pytest.mark.parametrize(
    "nonsense", ["None", "float('nan')", "'yes'", "7", "-0.1", "[True]", "(True, 3)", "(1, 2, 3)", "object()", "huge"]
)
def test_nonsense_is_an_error_with_a_reason(nonsense: str) -> None:
    (reason,) = reasons([nonsense])
    assert reason.startswith("error: returned ") and len(reason) <= 200


def test_a_function_that_raises_hangs_or_dies_costs_its_own_verdict_alone() -> None:
    started = time.monotonic()
    found = reasons(["1 / 0", "time.sleep(60)", "True", "sys.exit()", "exit()", "(True, huge)", "True"], grading_seconds=0.5)
    assert time.monotonic() - started < 20
    assert found[0] == "error: ZeroDivisionError: division by zero (<string>, line 1)"
    assert found[1:3] == ["timeout", "correct"]
    assert found[3].startswith("error: SystemExit")
    assert found[4] == "error: the process died"
    assert found[5].startswith("correct: xxx") and len(found[5]) == 200
    assert found[6] == "correct"


def test_what_a_function_started_ends_with_it(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    assert reasons([f"open({str(pid_file)!r}, 'w').write(str(start())) and time.sleep(60)"], grading_seconds=3.0) == ["timeout"]
    pid, deadline = int(pid_file.read_text()), time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_truncated_response_is_never_shown_to_it() -> None:
    prompt = Prompt("p1", "s", "d", "1 + 1", "2")
    (grade,) = grade_prompts(Grading("python", "my_judges.judge:grade"), ["True"], [prompt], ["length"])
    assert (grade.correct, grade.reason) == (False, "truncated")


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("my_judges.judge:grade", None),
        ("no_such_judge:grade", "ModuleNotFoundError: No module named 'no_such_judge'"),
        ("my_judges.judge:no", "AttributeError: module 'my_judges.judge' has no attribute 'no'"),
        ("my_judges.judge:one", "my_judges.judge:one(response) cannot be called with (response, prompt)"),
        ("my_judges.judge:keyword", "my_judges.judge:keyword(response, *, prompt) cannot be called with (response, prompt)"),
        ("my_judges.judge:NUMBER", "my_judges.judge:NUMBER is int, not a function"),
        ("my_judges.broken:grade", "ModuleNotFoundError: No module named 'no_such_package' (broken.py, line 1)"),
        ("my_judges.ends:grade", "SystemExit: 1 (ends.py, line 1)"),
    ],
)
def test_what_is_wrong_with_a_function_is_one_line(function: str, said: str | None) -> None:
    assert function_problem(function) == said


def test_a_function_that_cannot_be_called_ends_the_grading_with_that_line() -> None:
    with pytest.raises(ValueError, match="function = 'my_judges.judge:no': .* has no attribute 'no'"):
        reasons(["True"], "my_judges.judge:no")


def test_a_changed_file_is_another_grader_at_once(tmp_path: Path) -> None:
    before = function_digest("my_judges.judge:grade")
    assert before and "my_judges.judge" not in sys.modules and "my_judges" not in sys.modules
    assert reasons(["False"]) == ["wrong"]
    (tmp_path / "my_judges" / "judge.py").write_text("def grade(response, prompt):\n    return True\n")
    assert function_digest("my_judges.judge:grade") != before
    assert reasons(["False"]) == ["correct"]
    assert function_digest("no_such_judge:grade") == function_digest("my_judges.no:grade") == ""


CONFINED = """
import importlib.util, os, socket, subprocess
spec = importlib.util.spec_from_file_location("call_gym", {path!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.start()
for attempt in (lambda: open({written!r}, "w"), lambda: os.listdir("/root"), lambda: socket.socket(), lambda: subprocess.run("true"),
                lambda: os.fork()):
    try:
        attempt()
        print("allowed")
    except OSError:
        print("refused")
"""


def test_reasoning_gym_scores_in_a_confined_process(tmp_path: Path) -> None:
    pytest.importorskip("reasoning_gym", reason="the extra laconic[gym] is not installed")
    path = Path(__file__).parents[2] / "pipeline_lib/grading/functions/call_gym.py"
    script = textwrap.dedent(CONFINED.format(path=str(path), written=str(tmp_path / "written")))
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True, timeout=60)
    attempts = done.stdout.split()
    sys.path.insert(0, str(path.parents[1] / "code"))
    try:
        from sandbox import landlock, seccomp
    finally:
        sys.path.pop(0)
    has_files, has_calls = landlock.abi_version() > 0, seccomp.is_supported()
    assert attempts[:2] == ["refused" if has_files else "allowed"] * 2 or os.geteuid() != 0
    assert attempts[2:] == ["refused" if has_calls else "allowed"] * 3
