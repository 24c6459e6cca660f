"""Isolation by tools that are installed on their own: bubblewrap around the sandbox process, or a Docker container a program."""

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

from pipeline_lib.grading.code.sandbox.namespaces import readable_paths
from pipeline_lib.grading.code.verdicts import SandboxLimits
from pipeline_lib.grading.code.zygote_process import SANDBOX_FOLDER, SandboxGone, interpreter

DOCKER_IMAGE = "python:3.11-slim"

_TOOLS = {
    "bubblewrap": ("bwrap", "install the package bubblewrap (apt-get install bubblewrap, dnf install bubblewrap)"),
    "docker": ("docker", "install Docker Engine (https://docs.docker.com/engine/install/)"),
}
_SINGLE_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); from sandbox.single import main; sys.path.pop(0); "
    "main(sys.argv[2], sys.argv[3])"
)


def require_tool(isolation: str) -> None:
    """Raises ValueError, naming how to install it, when the isolation's tool is not there."""
    if isolation not in _TOOLS:
        return
    command, remedy = _TOOLS[isolation]
    if shutil.which(command) is None:
        raise ValueError(f"isolation = {isolation!r} needs the command {command}, which is not installed: {remedy}")


def bubblewrap_prefix() -> list[str]:
    """The bubblewrap command that the sandbox process is started under: only Python to read, no network, own process ids."""
    prefix = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session"]
    prefix += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
    for path in [*readable_paths(), interpreter(), str(Path(interpreter()).resolve()), str(SANDBOX_FOLDER)]:
        if not path.startswith("/dev/"):
            is_link = path in ("/lib", "/lib64") and Path(path).is_symlink()
            prefix += ["--symlink", str(Path(path).readlink()), path] if is_link else ["--ro-bind", path, path]
    return [*prefix, "--chdir", "/"]


def single_program_command(folder: str, python: str, limits: dict[str, Any], scratch: str) -> list[str]:
    """The command that runs one program in an interpreter of its own; `folder` holds the sandbox package."""
    return [python, "-s", "-S", "-P", "-c", _SINGLE_PROGRAM, folder, json.dumps(limits), scratch]


def docker_command(name: str, limits: SandboxLimits, cpu_seconds: float) -> list[str]:
    """The command that runs one program in a container of this name, its channel on standard input and output."""
    every_limit = {**asdict(limits), "cpu_seconds": cpu_seconds}
    return [
        *("docker", "run", "--rm", "--interactive", "--name", name, "--init"),
        *("--network", "none", "--ipc", "none", "--read-only", "--cap-drop", "ALL", "--user", "65534:65534"),
        *("--security-opt", "no-new-privileges", "--pids-limit", str(limits.num_tasks + 8)),
        *("--memory", str(limits.memory_bytes), "--memory-swap", str(limits.memory_bytes), "--cpus", "1"),
        *("--tmpfs", f"/tmp:rw,noexec,nosuid,nodev,size={limits.scratch_bytes},mode=1777"),
        *("--volume", f"{SANDBOX_FOLDER}:/laconic/sandbox:ro", "--env", "PYTHONHASHSEED=0", "--env", "PYTHONUTF8=1"),
        DOCKER_IMAGE,
        *single_program_command("/laconic", "python3", every_limit, "/tmp"),
    ]


class DockerLauncher:
    """Starts every program in a container of its own."""

    def launch(self, request: dict[str, Any], fds: list[int]) -> None:
        """Start a container; a thread tells on the status descriptor how it ended. Raises SandboxGone."""
        name = f"laconic-code-{uuid4().hex}"
        limits = dict(request["limits"])
        cpu_seconds = limits.pop("cpu_seconds")
        command = docker_command(name, SandboxLimits(**limits), cpu_seconds)
        start_command(command, fds, request["wall_seconds"], ["docker", "kill", name])


def start_command(command: Sequence[str], fds: list[int], wall_seconds: float, kill_command: Sequence[str] = ()) -> None:
    """Run a command as one program: channel on 0 and 1, errors on 2, how it ended on the status descriptor."""
    channel, errors, status_fd = fds
    status = socket.fromfd(status_fd, socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        process = subprocess.Popen(command, stdin=channel, stdout=channel, stderr=errors)
    except OSError as error:
        status.close()
        raise SandboxGone(str(error)) from error
    threading.Thread(target=_watch, args=(process, status, wall_seconds, list(kill_command)), daemon=True).start()


def _watch(process: "subprocess.Popen[bytes]", status: Any, wall_seconds: float, kill_command: list[str]) -> None:
    """Kill the command when its time is over or the grader lets go of it, then tell how it ended."""
    threading.Thread(target=_kill_when_let_go, args=(process, status, kill_command), daemon=True).start()
    overran = False
    try:
        process.wait(timeout=wall_seconds)
    except subprocess.TimeoutExpired:
        overran = True
        _kill(process, kill_command)
    code = process.wait()
    # A container's exit code for a program that a signal ended.
    code = 128 - code if code > 128 else code
    try:
        status.sendall(json.dumps({"exit_code": code, "overran": overran, "cpu_seconds": 0.0}).encode())
    except OSError:
        pass
    finally:
        # Ends the leash's wait too.
        status.shutdown(2)
        status.close()


def _kill_when_let_go(process: "subprocess.Popen[bytes]", status: Any, kill_command: list[str]) -> None:
    try:
        status.recv(1)
    except OSError:
        return
    if process.poll() is None:
        _kill(process, kill_command)


def _kill(process: "subprocess.Popen[bytes]", kill_command: list[str]) -> None:
    if kill_command:
        subprocess.run(kill_command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    process.kill()
