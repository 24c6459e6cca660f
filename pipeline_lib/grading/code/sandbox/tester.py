"""The trusted side of a test program: runs the asserts here and the program's functions over there.

What comes back is rebuilt from plain values, so a result compares as what it is. The one who runs the asserts never shares a
process with the program.
"""

import ast
import builtins
from typing import Any

from .frames import ChannelClosed, FrameTooLarge, read_frame, write_frame
from .plain_values import Encoder, Unplain, decode

_MAX_TEXT = 300


class ProgramRaised(Exception):
    """The program raised an exception that is not a builtin one."""


class ProgramGone(BaseException):
    """The program's process ended, or broke the protocol."""


class Bridge:
    """Requests to the program's process, and what went wrong there."""

    def __init__(self, fd: int, max_frame_bytes: int) -> None:
        self._fd = fd
        self._max_frame_bytes = max_frame_bytes
        self.num_calls = 0
        self.gone = False
        self.too_large = False
        self.raised: dict[str, str] = {}
        # The exceptions that stand for one in the program, kept so that their ids stay theirs.
        self.mirrored: list[BaseException] = []

    def start(self, job: dict[str, Any]) -> bool:
        """Load the program; False when it raised."""
        write_frame(self._fd, job)
        reply = self._receive("ready")
        self.raised = reply.get("raised", {})
        return not self.raised

    def request(self, operation: str, **fields: Any) -> dict[str, Any]:
        """One request and its reply. Raises what the program raised, or ProgramGone."""
        self.num_calls += operation != "find"
        try:
            write_frame(self._fd, {"op": operation, **fields})
        except ChannelClosed as error:
            self.gone = True
            raise ProgramGone from error
        reply = self._receive("value")
        if "raised" in reply:
            raise self._mirror(reply["raised"])
        return reply

    def encode(self, value: Any) -> Any:
        """A test's value for the program. Raises Unplain."""
        return Encoder(_number_of).encode(value)

    def decode(self, form: Any) -> Any:
        """A program's value; objects that stay there become a RemoteObject."""
        try:
            return decode(form, lambda number: RemoteObject(self, number))
        except Unplain as error:
            self.gone = True
            raise ProgramGone from error

    def _receive(self, expected: str) -> dict[str, Any]:
        try:
            reply = read_frame(self._fd, self._max_frame_bytes)
        except FrameTooLarge as error:
            self.too_large = True
            raise ProgramGone from error
        except (ChannelClosed, ValueError, RecursionError) as error:
            self.gone = True
            raise ProgramGone from error
        if isinstance(reply, dict) and reply.get("too_large"):
            self.too_large = True
            raise ProgramGone
        if not isinstance(reply, dict) or not (_is_description(reply["raised"]) if "raised" in reply else expected in reply):
            self.gone = True
            raise ProgramGone
        return reply

    def _mirror(self, raised: dict[str, str]) -> Exception:
        kind = getattr(builtins, raised["type"], None)
        text = raised["text"][:_MAX_TEXT]
        error: Exception
        try:
            assert isinstance(kind, type) and issubclass(kind, Exception)
            error = kind(text)
        except (AssertionError, TypeError):
            error = ProgramRaised(f"{raised['type']}: {text}")
        self.raised = raised
        self.mirrored.append(error)
        return error


def _is_description(raised: Any) -> bool:
    return isinstance(raised, dict) and all(isinstance(raised.get(name), str) for name in ("type", "text", "line"))


class RemoteObject:
    """An object of the program: its functions can be called, its attributes read and set, its members iterated over.

    It is equal to nothing but itself.
    """

    def __init__(self, bridge: Bridge, number: int) -> None:
        object.__setattr__(self, "_remote", (bridge, number))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        bridge, number = self._remote
        reply = bridge.request("call", target=number, args=bridge.encode(list(args)), kwargs=bridge.encode(dict(kwargs)))
        for change in reply.get("changed", []):
            _replace_content(args, change, bridge)
        return bridge.decode(reply["value"])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        bridge, number = self._remote
        return bridge.decode(bridge.request("get", target=number, name=name)["value"])

    def __setattr__(self, name: str, value: Any) -> None:
        bridge, number = self._remote
        bridge.request("set", target=number, name=name, value=bridge.encode(value))

    def __iter__(self) -> Any:
        bridge, number = self._remote
        members = bridge.decode(bridge.request("iterate", target=number)["value"])
        return iter(members if type(members) is list else [])


def _number_of(value: Any) -> int:
    if type(value) is not RemoteObject:
        raise Unplain(f"a test passes a value of type {type(value).__name__}")
    return int(object.__getattribute__(value, "_remote")[1])


def _replace_content(args: tuple[Any, ...], change: Any, bridge: Bridge) -> None:
    """Give an argument the content it has after the call, as if it had been changed in place here."""
    try:
        place, form = change
        argument = args[place]
    except (TypeError, ValueError, IndexError):
        return
    value = bridge.decode(form)
    if type(argument) is list and type(value) is list:
        argument[:] = value
    elif (type(argument) is dict and type(value) is dict) or (type(argument) is set and type(value) is set):
        argument.clear()
        argument.update(value)


def run_tests(job: dict[str, Any], bridge_fd: int) -> dict[str, Any]:
    """The outcome: reason (correct, wrong, runtime_error, memory_limit, output_limit, error, or gone: see how the program ended),
    detail, num_passed, num_tests."""
    bridge = Bridge(bridge_fd, job["max_frame_bytes"])
    progress = {"num_passed": 0, "num_tests": 1}
    try:
        tree = ast.parse(job["code"])
        namespace: dict[str, Any] = {"__name__": "tests"}
        exec(compile(job["preamble"], "<preamble>", "exec", dont_inherit=True), namespace)
        if not bridge.start(job["program_job"]):
            return _outcome(*_reason_of_raised(bridge.raised), progress)
        missing = _bring_in(bridge, namespace, tree, job)
        if missing is not None:
            return _outcome("runtime_error", f"the program does not define {missing}", progress)
        _run_statements(tree, namespace, job, progress)
    except BaseException as error:
        return _outcome(*_classify(error, bridge), progress)
    if bridge.gone or bridge.too_large:
        return _outcome(*_classify(ProgramGone(), bridge), progress)
    return _outcome("correct", "", progress)


def _outcome(reason: str, detail: str, progress: dict[str, int]) -> dict[str, Any]:
    return {"reason": reason, "detail": detail[:_MAX_TEXT], **progress}


def _bring_in(bridge: Bridge, namespace: dict[str, Any], tree: ast.Module, job: dict[str, Any]) -> str | None:
    """Put the program's functions into the tests' namespace; the first required one that is missing, or None."""
    required = list(job["entry_points"])
    names = list(dict.fromkeys([*required, *unresolved_names(tree, namespace)]))
    found = bridge.decode(bridge.request("find", names=names, solution=False)["value"])
    if type(found) is not list or len(found) != len(names):
        raise ProgramGone
    for name, value in zip(names, found, strict=True):
        if type(value) is RemoteObject:
            namespace[name] = value
        else:
            return str(name)
    return None


def unresolved_names(tree: ast.Module, namespace: dict[str, Any]) -> list[str]:
    """Names that the tests read and neither they, nor the preamble, nor Python define, in order of appearance."""
    defined = set(namespace) | set(dir(builtins))
    read = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Load):
                read.append(node.id)
            else:
                defined.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            defined.add(node.name)
        elif isinstance(node, ast.arg):
            defined.add(node.arg)
        elif isinstance(node, ast.alias):
            defined.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            defined.add(node.name)
    return [name for name in dict.fromkeys(read) if name not in defined]


def _run_statements(tree: ast.Module, namespace: dict[str, Any], job: dict[str, Any], progress: dict[str, int]) -> None:
    """Run the tests one statement at a time; every top-level assert, and the call of check(), is one test."""
    calls_check = any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in tree.body)
    progress["num_tests"] = sum(isinstance(node, ast.Assert) for node in tree.body) + calls_check
    for node in tree.body:
        exec(compile(ast.Module([node], []), "<tests>", "exec", dont_inherit=True), namespace)
        progress["num_passed"] += isinstance(node, ast.Assert)
    if calls_check:
        namespace["check"](namespace[job["entry_points"][0]])
        progress["num_passed"] += 1


def _classify(error: BaseException, bridge: Bridge) -> tuple[str, str]:
    """Reason and detail for what ended the tests."""
    if bridge.too_large:
        return "output_limit", "a result larger than the limit"
    if bridge.gone or isinstance(error, ProgramGone | ChannelClosed):
        return "gone", ""
    if any(error is mirrored for mirrored in bridge.mirrored):
        return _reason_of_raised(bridge.raised)
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, AssertionError):
        return "wrong", text if str(error) else "an assert failed"
    if isinstance(error, Unplain) or bridge.num_calls == 0 or not isinstance(error, Exception):
        return "error", f"the tests failed by themselves: {text}"
    return "wrong", f"the test could not use the result: {text}"


def _reason_of_raised(raised: dict[str, str]) -> tuple[str, str]:
    line = f" (line {raised['line']})" if raised["line"] else ""
    detail = f"{raised['type']}: {raised['text']}{line}"
    return ("memory_limit" if raised["type"] == "MemoryError" else "runtime_error"), detail
