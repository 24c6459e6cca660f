"""One program (or one test program) running in the sandbox, seen from the grader: its channel, its limits, its end."""

import contextlib
import json
import math
import os
import socket
import struct
from dataclasses import asdict, dataclass
from signal import SIGKILL, SIGXCPU, Signals
from time import monotonic
from typing import Any, Protocol

from pipeline_lib.grading.code.sandbox.frames import ChannelClosed, FrameTooLarge, encode_frame, parse_payload
from pipeline_lib.grading.code.verdicts import Reason, SandboxLimits
from pipeline_lib.grading.code.zygote_process import SandboxGone

# The sandbox kills by itself when the grader has not; this much later, so that the grader's clock decides.
_BACKSTOP_SECONDS = 2.0
_CLEANUP_TIMEOUT_SECONDS = 20.0
_MAX_ERROR_BYTES = 8192
_MAX_DESCRIPTION = 400
_LENGTH = struct.Struct(">I")


class Overrun(Exception):
    """The deadline has passed."""


class Launcher(Protocol):
    """What starts a program: a sandbox process, or a container."""

    def launch(self, request: dict[str, Any], fds: list[int]) -> None:
        """Start a program with these channel, errors and status descriptors."""


@dataclass(frozen=True)
class End:
    """How a program's process ended: why it is to blame (None: it is not), and what it said."""

    reason: Reason | None
    detail: str


class Execution:
    """A running program. Use as a context manager: leaving it ends the program and everything it started."""

    def __init__(
        self,
        launcher: Launcher,
        limits: SandboxLimits,
        deadline: float,
        total_seconds: float,
        uid: int,
        bridge: socket.socket | None = None,
    ) -> None:
        """`deadline` is monotonic seconds, for what comes next; `total_seconds` bounds everything, in CPU and in wall time.

        `bridge` takes the place of the errors pipe, for the side that runs the tests.
        """
        self._cpu_seconds = math.ceil(total_seconds)
        self._memory_bytes = limits.memory_bytes
        self._stopped = False
        self.deadline = deadline
        self.channel, child_channel = socket.socketpair()
        self._status, child_status = socket.socketpair()
        self._errors, child_errors = os.pipe()
        os.set_blocking(self._errors, False)
        request = {
            "uid": uid,
            "wall_seconds": total_seconds + _BACKSTOP_SECONDS,
            "limits": {**asdict(limits), "cpu_seconds": self._cpu_seconds},
        }
        try:
            third = child_errors if bridge is None else bridge.fileno()
            launcher.launch(request, [child_channel.fileno(), third, child_status.fileno()])
        except BaseException:
            self._close()
            raise
        finally:
            child_channel.close()
            child_status.close()
            os.close(child_errors)

    def __enter__(self) -> "Execution":
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()
        try:
            # Nothing of the program is left when this returns.
            if self._status.fileno() >= 0:
                self._read_status()
        finally:
            self._close()

    def _close(self) -> None:
        self.channel.close()
        self._status.close()
        if self._errors >= 0:
            os.close(self._errors)
            self._errors = -1

    def _set_timeout(self, peer: socket.socket) -> None:
        remaining = self.deadline - monotonic()
        if remaining <= 0:
            raise Overrun
        peer.settimeout(remaining)

    def send(self, message: Any) -> None:
        """Send one message. Raises Overrun, ChannelClosed."""
        self._set_timeout(self.channel)
        try:
            self.channel.sendall(encode_frame(message))
        except TimeoutError as error:
            raise Overrun from error
        except OSError as error:
            raise ChannelClosed from error

    def receive(self, max_bytes: int) -> Any:
        """The next message, read by the deadline.

        Raises Overrun, ChannelClosed, FrameTooLarge, or ValueError or RecursionError for improper JSON.
        """
        (length,) = _LENGTH.unpack(self._receive_exactly(_LENGTH.size))
        if length > max_bytes:
            raise FrameTooLarge(f"a message of {length} bytes, more than {max_bytes}")
        message = parse_payload(self._receive_exactly(length))
        self.check_deadline()
        return message

    def check_deadline(self) -> None:
        """Raises Overrun when the deadline has passed."""
        if monotonic() > self.deadline:
            raise Overrun

    def _receive_exactly(self, length: int) -> bytes:
        received = bytearray()
        while len(received) < length:
            chunk = self._receive_some(length - len(received))
            if not chunk:
                raise ChannelClosed
            received += chunk
        return bytes(received)

    def _receive_some(self, max_bytes: int) -> bytes:
        self._set_timeout(self.channel)
        try:
            return self.channel.recv(min(max_bytes, 1 << 20))
        except TimeoutError as error:
            raise Overrun from error
        except OSError:
            return b""

    def read_output(self, max_bytes: int) -> bytes:
        """Everything the program prints until it ends or closes its output. Raises Overrun, FrameTooLarge."""
        printed = bytearray()
        while chunk := self._receive_some(max_bytes + 1):
            printed += chunk
            if len(printed) > max_bytes:
                raise FrameTooLarge(f"more than {max_bytes} bytes of output")
        return bytes(printed)

    def stop(self) -> None:
        """Tell the sandbox to kill the program."""
        self._stopped = True
        with contextlib.suppress(OSError):
            self._status.shutdown(socket.SHUT_WR)

    def wait(self) -> End:
        """Wait for the program to end by itself, at most until the deadline, and see to it that all its processes are gone.

        Raises SandboxGone when the sandbox failed to tell how it ended.
        """
        status = b""
        try:
            self._set_timeout(self._status)
            status = self._status.recv(4096)
        except (TimeoutError, Overrun):
            self.stop()
        end = self._read_status(status)
        error = self._read_error()
        return _judge_end(end, error, self._stopped, self._cpu_seconds, self._memory_bytes)

    def _read_status(self, received: bytes = b"") -> dict[str, Any]:
        """What the sandbox says once every process of the program is gone: the descriptor's end of file."""
        self._status.settimeout(_CLEANUP_TIMEOUT_SECONDS)
        try:
            while chunk := self._status.recv(4096):
                received += chunk
        except OSError as error:
            raise SandboxGone("the sandbox did not end a program in time") from error
        finally:
            self._status.close()
        if not received:
            raise SandboxGone("the sandbox ended without saying how the program did")
        end: dict[str, Any] = json.loads(received)
        if "failure" in end:
            raise SandboxGone(f"the sandbox failed: {end['failure']}")
        return end

    def _read_error(self) -> dict[str, Any]:
        """What the program's process said of its own failure: free text of an untrusted process."""
        try:
            error = json.loads(os.read(self._errors, _MAX_ERROR_BYTES))
        except (OSError, ValueError, RecursionError):
            return {}
        return error if isinstance(error, dict) else {}


def _judge_end(end: dict[str, Any], error: dict[str, Any], stopped: bool, cpu_seconds: int, memory_bytes: int) -> End:
    code = end["exit_code"]
    if end["overran"] or stopped:
        return End("timeout", "out of wall time")
    if code == -SIGXCPU or (code == -SIGKILL and end["cpu_seconds"] >= cpu_seconds):
        return End("timeout", f"out of CPU time ({cpu_seconds} s)")
    detail = describe_error(error)
    if error.get("type") == "MemoryError":
        return End("memory_limit", detail)
    if code == -SIGKILL and end.get("max_rss_kb", 0) * 1024 > memory_bytes / 2:
        return End("memory_limit", "killed by the system, most likely out of memory")
    if code < 0:
        return End("runtime_error", f"killed by {_signal_name(-code)}")
    if code > 0:
        return End("runtime_error", detail or f"ended with exit code {code}")
    return End(None, "")


def _signal_name(number: int) -> str:
    try:
        return Signals(number).name
    except ValueError:
        return f"signal {number}"


def describe_error(error: dict[str, Any]) -> str:
    """One line for a described exception; "" for none, and for a description of anything but texts."""
    told = [error.get(name, "") for name in ("type", "text", "line")]
    if not error or not all(isinstance(text, str) for text in told):
        return ""
    kind, text, line = (part[:_MAX_DESCRIPTION] for part in told)
    return (f"{kind}: {text}" + (f" (line {line})" if line else ""))[:_MAX_DESCRIPTION]
