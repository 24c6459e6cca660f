"""Judges one program by its tests: printed output, returned values, or a test program of asserts."""

import json
import socket
from dataclasses import dataclass
from time import monotonic
from typing import Any

from pipeline_lib.grading.code.comparison import is_same_output, is_same_result
from pipeline_lib.grading.code.execution import Execution, Launcher, Overrun, describe_error
from pipeline_lib.grading.code.sandbox.frames import ChannelClosed, FrameTooLarge
from pipeline_lib.grading.code.sandbox.plain_values import Encoder, Unplain, decode_json
from pipeline_lib.grading.code.specifications import FunctionTests, ProgramTests, StdinTests, Tests
from pipeline_lib.grading.code.verdicts import CodeVerdict, Reason, SandboxLimits

_MAX_DETAIL = 400
_MAX_VERDICT_BYTES = 1 << 20
# What a message has beside the value that the limit is meant for.
_FRAME_ALLOWANCE_BYTES = 4096


@dataclass(frozen=True)
class Bench:
    """What a judge works with: where programs run, where tests run, their limits and private user ids."""

    program_launcher: Launcher
    tests_launcher: Launcher
    limits: SandboxLimits
    timeout_seconds: float
    program_uid: int
    tests_uid: int


class Failed(Exception):
    """The program did not pass: reason and detail."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def judge(program: str, tests: Tests, bench: Bench) -> CodeVerdict:
    """The verdict on one program. Raises SandboxGone when the sandbox is to blame."""
    started = monotonic()
    if isinstance(tests, ProgramTests):
        reason, detail, num_passed, num_tests = _judge_by_program(program, tests, bench)
    else:
        num_passed, num_tests = 0, len(tests.cases)
        reason, detail = "correct", ""
        try:
            for _ in _passed_cases(program, tests, bench):
                num_passed += 1
        except Failed as failed:
            reason, detail = failed.reason, f"test {num_passed + 1} of {num_tests}: {failed.detail}"
    return CodeVerdict(reason, monotonic() - started, detail[:_MAX_DETAIL], num_passed, num_tests)


def _passed_cases(program: str, tests: StdinTests | FunctionTests, bench: Bench) -> Any:
    """Yields once a passed case. Raises Failed."""
    if isinstance(tests, FunctionTests):
        yield from _judge_by_calls(program, tests, bench)
        return
    for given, expected in tests.cases:
        _judge_by_output(program, given, expected, bench)
        yield


def _judge_by_output(program: str, given: str, expected: str, bench: Bench) -> None:
    """One case: a process of its own reads `given` and prints. Raises Failed."""
    deadline = monotonic() + bench.timeout_seconds
    with Execution(bench.program_launcher, bench.limits, deadline, bench.timeout_seconds, bench.program_uid) as execution:
        try:
            execution.send({"mode": "stdin", "program": program, "input": given})
            printed = execution.read_output(bench.limits.output_bytes)
        except FrameTooLarge as error:
            raise Failed("output_limit", str(error)) from error
        except Overrun as error:
            raise Failed("timeout", f"longer than {bench.timeout_seconds:g} s") from error
        except ChannelClosed:
            printed = b""
        end = execution.wait()
    if end.reason is not None:
        raise Failed(end.reason, end.detail)
    # Bytes that are no UTF-8 can equal no expected text.
    text = printed.decode("utf-8", "replace")
    if not is_same_output(text, expected):
        raise Failed("wrong", f"printed {_shorten(text)}, expected {_shorten(expected)}")


def _judge_by_calls(program: str, tests: FunctionTests, bench: Bench) -> Any:
    """All cases in one process, the program loaded once, as in LiveCodeBench. Yields once a passed case. Raises Failed."""
    deadline = monotonic() + bench.timeout_seconds
    total_seconds = bench.timeout_seconds * (len(tests.cases) + 1)
    with Execution(bench.program_launcher, bench.limits, deadline, total_seconds, bench.program_uid) as execution:
        session = _Calls(execution, bench)
        job = {"mode": "functions", "prelude": True, "preamble": "", "withhold": [], "program": program, **session.frame}
        session.ask(job, expected="ready")
        target = session.find(tests.entry_point)
        for arguments, expected in tests.cases:
            execution.deadline = monotonic() + bench.timeout_seconds
            encoded = Encoder().encode(list(arguments))
            returned = session.ask({"op": "call", "target": target, "args": encoded, "kwargs": {"d": []}})["value"]
            try:
                value = decode_json(returned)
            except Unplain as error:
                raise Failed("wrong", f"returned {error}") from error
            if not is_same_result(value, expected):
                raise Failed("wrong", f"returned {_shorten(value)}, expected {_shorten(expected)}")
            session.check_deadline()
            yield


class _Calls:
    """Requests to a program's process and its replies, all claims of an untrusted process."""

    def __init__(self, execution: Execution, bench: Bench) -> None:
        self._execution, self._bench = execution, bench
        self.frame = {"max_frame_bytes": bench.limits.output_bytes + _FRAME_ALLOWANCE_BYTES}

    def ask(self, message: dict[str, Any], expected: str = "value") -> dict[str, Any]:
        """The reply to one request. Raises Failed."""
        try:
            self._execution.send(message)
            reply = self._execution.receive(self.frame["max_frame_bytes"])
        except FrameTooLarge as error:
            raise Failed("output_limit", str(error)) from error
        except Overrun as error:
            raise self._timeout() from error
        except ChannelClosed as error:
            end = self._execution.wait()
            raise Failed(end.reason or "runtime_error", end.detail or "the program ended before it was called") from error
        except (ValueError, RecursionError) as error:
            raise Failed("runtime_error", "the program wrote to the channel of its results") from error
        if isinstance(reply, dict) and reply.get("too_large"):
            raise Failed("output_limit", "a result larger than the limit")
        if isinstance(reply, dict) and isinstance(reply.get("raised"), dict):
            raised = reply["raised"]
            raise Failed("memory_limit" if raised.get("type") == "MemoryError" else "runtime_error", describe_error(raised))
        if not isinstance(reply, dict) or expected not in reply:
            raise Failed("runtime_error", "the program wrote to the channel of its results")
        return reply

    def check_deadline(self) -> None:
        """Raises Failed when what was done with the reply ended too late."""
        try:
            self._execution.check_deadline()
        except Overrun as error:
            raise self._timeout() from error

    def _timeout(self) -> Failed:
        return Failed("timeout", f"longer than {self._bench.timeout_seconds:g} s")

    def find(self, name: str) -> int:
        """The number of the function of this name. Raises Failed."""
        found = self.ask({"op": "find", "names": [name], "solution": True})["value"]
        if not (isinstance(found, list) and len(found) == 1 and isinstance(found[0], dict) and type(found[0].get("h")) is int):
            raise Failed("runtime_error", f"the program does not define {name}")
        return int(found[0]["h"])


def _judge_by_program(program: str, tests: ProgramTests, bench: Bench) -> tuple[Reason, str, int, int]:
    """The tests in one sandboxed process, the program in another, a bridge of plain values between them."""
    deadline = monotonic() + bench.timeout_seconds
    seconds, limits = bench.timeout_seconds, bench.limits
    near, far = socket.socketpair()
    frame = {"max_frame_bytes": limits.output_bytes + _FRAME_ALLOWANCE_BYTES}
    job = {
        "mode": "tests",
        "preamble": tests.preamble,
        "code": tests.code,
        "entry_points": list(tests.entry_points),
        "program_job": {
            "mode": "functions",
            "prelude": False,
            "preamble": tests.preamble,
            "withhold": list(tests.entry_points),
            "program": program,
            **frame,
        },
        **frame,
    }
    with near, far:
        program_launcher = _OnBridge(bench.program_launcher, near)
        with (
            Execution(program_launcher, limits, deadline, seconds, bench.program_uid) as program_execution,
            Execution(bench.tests_launcher, limits, deadline, seconds, bench.tests_uid, bridge=far) as tests_execution,
        ):
            near.close()
            far.close()
            try:
                tests_execution.send(job)
                outcome = tests_execution.receive(_MAX_VERDICT_BYTES)
            except Overrun:
                return "timeout", f"longer than {seconds:g} s", 0, tests.num_tests
            except ChannelClosed:
                end = tests_execution.wait()
                reason: Reason = "timeout" if end.reason == "timeout" else "error"
                return reason, f"the tests' process ended: {end.detail}", 0, tests.num_tests
            if outcome["reason"] == "gone":
                end = program_execution.wait()
                outcome |= {"reason": end.reason or "runtime_error"}
                outcome |= {"detail": end.detail or "the program ended before its tests did"}
    return outcome["reason"], outcome["detail"], outcome["num_passed"], outcome["num_tests"]


class _OnBridge:
    """Starts a program whose channel is one end of the bridge to its tests."""

    def __init__(self, launcher: Launcher, bridge: socket.socket) -> None:
        self._launcher, self._bridge = launcher, bridge

    def launch(self, request: dict[str, Any], fds: list[int]) -> None:
        """As Launcher.launch."""
        self._launcher.launch(request, [self._bridge.fileno(), *fds[1:]])


def _shorten(value: Any, limit: int = 80) -> str:
    text = value if isinstance(value, str) else ""
    try:
        # Piece by piece, and no further than is shown.
        pieces = json.JSONEncoder().iterencode(value)
        while not isinstance(value, str) and len(text) <= limit:
            text += next(pieces)
    except StopIteration:
        pass
    except ValueError:  # an integer of more digits than Python converts
        text = f"a {type(value).__name__}"
    return repr(text if len(text) <= limit else text[:limit] + "…")
