"""The clean process that forks one confined process per program, so that a program costs a fork and not an interpreter's start.

It never reads a program, a test or an answer: those go straight to the forked process, so that none can be found in the memory
that later ones inherit. A request is one packet: limits, and three descriptors (channel, errors, status).
"""

import contextlib
import gc
import json
import os
import select
import shutil
import signal
import socket
import sys
from typing import Any

from . import confinement, kernel, namespaces, program, warden

_PARENT_CHECK_SECONDS = 2.0
_MAX_REQUEST_BYTES = 16_384
_OOM_SCORE = 700


class Zygote:
    """Serves requests from a socket until the grader closes it."""

    def __init__(self, control: socket.socket, namespace_kind: str | None, proc_fd: int | None) -> None:
        self._control = control
        self._namespace_kind = namespace_kind
        self._proc_fd = proc_fd
        self._tasks_are_bound = confinement.task_limit_binds(namespace_kind, proc_fd, confinement.private_uid(os.getpid(), 63))
        self._own_pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY) if namespace_kind else None
        # The status descriptor stays open here until all processes of a run are gone: the grader waits for its end of file.
        self._runs: dict[int, tuple[int, str | None]] = {}
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def serve(self) -> None:
        """Fork for every request and reap what ended."""
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        while True:
            watched: list[Any] = [self._control, self._wake_read]
            readable, _, _ = select.select(watched, [], [])
            if self._wake_read in readable:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_read, 4096)
                self._reap()
            if self._control in readable and not self._accept():
                return

    def _accept(self) -> bool:
        packet, fds, _, _ = socket.recv_fds(self._control, _MAX_REQUEST_BYTES, 3)
        if not packet:
            return False
        request = json.loads(packet)
        request["tasks_are_bound"] = self._tasks_are_bound
        request["channel_fd"], request["errors_fd"], status_fd = fds
        try:
            pid = self._fork()
        except OSError as error:
            os.write(status_fd, json.dumps({"failure": str(error)}).encode())
            for fd in fds:
                os.close(fd)
            return True
        if pid == 0:
            self._become_warden(request, status_fd)
        for fd in fds[:2]:
            os.close(fd)
        self._runs[pid] = (status_fd, request.get("scratch"))
        return True

    def _fork(self) -> int:
        """Fork; the child is the first process of a new process namespace where there are namespaces."""
        if self._own_pid_namespace is None:
            return os.fork()
        kernel.unshare(kernel.CLONE_NEWPID)
        try:
            pid = os.fork()
        except OSError:
            pid = -1
        if pid != 0:
            kernel.enter_namespace(self._own_pid_namespace, kernel.CLONE_NEWPID)
        if pid < 0:
            raise OSError("the sandbox cannot fork")
        return pid

    def _become_warden(self, request: dict[str, Any], status_fd: int) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._control.close()
        for fd in (self._wake_read, self._wake_write, self._own_pid_namespace, *(fd for fd, _ in self._runs.values())):
            if fd is not None:
                os.close(fd)

        def run_program(scratch: str) -> None:
            program.run(request, self._namespace_kind, self._proc_fd, scratch)

        warden.watch(request, self._namespace_kind, status_fd, run_program)

    def _reap(self) -> None:
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._runs:
                status_fd, scratch = self._runs.pop(pid)
                if scratch is not None:
                    shutil.rmtree(scratch, ignore_errors=True)  # links in it are removed, never followed
                os.close(status_fd)


def main(control_fd: int, use_namespaces: bool) -> None:
    """Enter the namespaces and serve; the process that was started stays outside to watch the grader."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        # When memory runs out on the machine, this is what to give up first.
        score.write(str(_OOM_SCORE))
    grader_pid = os.getppid()
    control = socket.socket(fileno=control_fd)
    namespaces.is_full_root()
    kind = namespaces.leave_namespaces() if use_namespaces else None
    pid = os.fork()
    if pid == 0:
        try:
            _start_serving(control, kind)
        except BaseException as error:
            with contextlib.suppress(OSError):
                control.send(json.dumps({"failure": f"{type(error).__name__}: {error}"}).encode())
        os._exit(0)
    control.close()
    _watch_grader(grader_pid, pid)


def _start_serving(control: socket.socket, kind: str | None) -> None:
    proc_fd = os.open("/proc", os.O_PATH | os.O_DIRECTORY) if kind == "user" else None
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    program.preload()
    zygote = Zygote(control, kind, proc_fd)
    if kind is not None:
        kernel.set_hostname("sandbox")
        namespaces.build_root(namespaces.readable_paths())
    control.send(json.dumps({"namespaces": kind}).encode())
    gc.collect()
    gc.freeze()
    zygote.serve()


def _watch_grader(grader_pid: int, pid: int) -> None:
    """Wait for the serving process; end it when the grader is gone without closing the socket."""
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    while True:
        ended, _ = os.waitpid(pid, os.WNOHANG)
        if ended:
            sys.exit(0)
        if os.getppid() != grader_pid:
            os.kill(pid, signal.SIGKILL)
        signal.sigtimedwait([signal.SIGCHLD], _PARENT_CHECK_SECONDS)
