"""The grader's side of the sandbox process: start it, hand it programs to run, close it."""

import contextlib
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

SANDBOX_FOLDER = Path(__file__).with_name("sandbox")
START_TIMEOUT_SECONDS = 60.0

_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); from sandbox.zygote import main; sys.path.pop(0); "
    "main(int(sys.argv[2]), sys.argv[3] == 'namespaces')"
)


class SandboxGone(Exception):
    """The sandbox process died or was killed: nobody's program is to blame."""


def interpreter() -> str:
    """The Python that runs programs: the one under the virtual environment, whose packages it does not see."""
    return str(getattr(sys, "_base_executable", None) or sys.executable)


class ZygoteProcess:
    """One sandbox process. `namespaces` says which kind it has: "root", "user" or None."""

    def __init__(self, command_prefix: Sequence[str] = (), use_namespaces: bool = True) -> None:
        self._control, child_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        self._scratch_base: str | None = None
        self._num_launched = 0
        mode = "namespaces" if use_namespaces else "plain"
        # -S and -P: no site-packages, no folder of ours on the import path of programs.
        command = [*command_prefix, interpreter(), "-s", "-S", "-P", "-c", _PROGRAM]
        with child_end:
            self.process = subprocess.Popen(
                [*command, str(SANDBOX_FOLDER.parent), str(child_end.fileno()), mode],
                pass_fds=[child_end.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # The same order of sets in every run: a verdict must not depend on the hash seed.
                env={"PYTHONHASHSEED": "0", "PYTHONUTF8": "1"},
                cwd="/",
                start_new_session=True,
            )
        self.namespaces: str | None = self._greet()
        if self.namespaces is None:
            self._scratch_base = tempfile.mkdtemp(prefix="laconic-code-")
            # Programs run as another user where possible and must reach their own folder in it.
            os.chmod(self._scratch_base, 0o711)

    def _greet(self) -> str | None:
        self._control.settimeout(START_TIMEOUT_SECONDS)
        try:
            reply = json.loads(self._control.recv(4096) or '{"failure": "it ended while starting"}')
        except OSError as error:
            reply = {"failure": str(error)}
        if "failure" in reply:
            self.close()
            raise SandboxGone(f"the sandbox process cannot start: {reply['failure']}")
        self._control.settimeout(None)
        kind = reply["namespaces"]
        return None if kind is None else str(kind)

    def launch(self, request: dict[str, Any], fds: Sequence[int]) -> None:
        """Run one program; `fds` are its channel, errors and status descriptors. Raises SandboxGone."""
        with self._lock:
            self._num_launched += 1
            if self._scratch_base is not None:
                request = {**request, "scratch": f"{self._scratch_base}/{self._num_launched}"}
            try:
                socket.send_fds(self._control, [json.dumps(request).encode()], list(fds))
            except OSError as error:
                raise SandboxGone("the sandbox process is gone") from error

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def close(self) -> None:
        """End it and every program in it, and remove their folders."""
        self._control.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=0.5)
        self.process.kill()
        self.process.wait()
        if self._scratch_base is not None:
            shutil.rmtree(self._scratch_base, ignore_errors=True)


def start_zygote(command_prefix: Sequence[str] = ()) -> ZygoteProcess:
    """A sandbox process with namespaces, or without where they cannot be set up. Raises RuntimeError when neither starts."""
    try:
        return ZygoteProcess(command_prefix)
    except SandboxGone as error:
        logger.warning("programs are graded without namespaces: %s", error)
    try:
        return ZygoteProcess(command_prefix, use_namespaces=False)
    except SandboxGone as error:
        raise RuntimeError(str(error)) from error
