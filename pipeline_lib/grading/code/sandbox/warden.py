"""The process above one program: sets its sandbox up, waits for it, ends it and all it started, and says how it ended."""

import contextlib
import json
import os
import select
import signal
import time
from collections.abc import Callable
from typing import Any

from . import confinement, kernel, namespaces

# Between looks at a program on a kernel without process descriptors.
_POLL_SECONDS = 0.01


def watch(request: dict[str, Any], namespace_kind: str | None, status_fd: int, run_program: Callable[[str], None]) -> None:
    """Fork the program, see it to its end, write how it ended to `status_fd`. Never returns.

    `run_program(scratch_folder)` is called in the child and must not return. The grader closing its end of `status_fd`, or
    `request["wall_seconds"]` being over, kills the program.
    """
    try:
        scratch = _prepare_scratch(request, namespace_kind)
        if namespace_kind is None:
            # Orphaned grandchildren come back here instead of going to the system's init.
            kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        pid = os.fork()
        if pid == 0:
            os.close(status_fd)
            run_program(scratch)
        for name in ("channel_fd", "errors_fd"):
            os.close(request[name])
        end = _wait(pid, status_fd, time.monotonic() + request["wall_seconds"])
        if namespace_kind is None:
            _end_descendants()
        os.write(status_fd, json.dumps(end).encode())
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.write(status_fd, json.dumps({"failure": f"{type(error).__name__}: {error}"[:500]}).encode())
    # As the first process of its namespace it takes every other one along.
    os._exit(0)


def _prepare_scratch(request: dict[str, Any], namespace_kind: str | None) -> str:
    if namespace_kind is None:
        scratch = str(request["scratch"])
        os.mkdir(scratch, 0o700)
        if confinement.can_have_private_user(None):
            os.chown(scratch, request["uid"], request["uid"])
        return scratch
    # A private user id exists only for root; in a user namespace there is just one.
    uid, gid = (request["uid"],) * 2 if namespace_kind == "root" else (os.geteuid(), os.getegid())
    namespaces.mount_scratch(request["limits"]["scratch_bytes"], uid, gid)
    return namespaces.SCRATCH


def _wait(pid: int, status_fd: int, deadline: float) -> dict[str, Any]:
    """How the program ended: exit code or signal, CPU seconds, and whether it was out of wall time."""
    pid_fd = _open_pid(pid)
    poller = select.poll()
    poller.register(status_fd, select.POLLIN | select.POLLHUP)
    if pid_fd is not None:
        poller.register(pid_fd, select.POLLIN)
    overran = False
    while True:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            break
        remaining = deadline - time.monotonic()
        timeout = remaining if pid_fd is not None else min(remaining, _POLL_SECONDS)
        events = poller.poll(max(0.0, timeout) * 1000) if remaining > 0 else []
        overran = remaining <= 0
        if overran or any(fd == status_fd for fd, _ in events):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            break
    code = os.waitstatus_to_exitcode(status)
    return {
        "exit_code": code,
        "overran": overran,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "max_rss_kb": usage.ru_maxrss,
    }


def _open_pid(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _end_descendants() -> None:
    """Kill and reap, again and again, what was left to this process, until nothing is."""
    while True:
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if ended:
            continue
        for child in _children():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        time.sleep(0.001)


def _children() -> list[int]:
    with open(f"/proc/self/task/{os.getpid()}/children") as listing:
        return [int(pid) for pid in listing.read().split()]
