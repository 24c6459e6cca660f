"""The forked process: gets its job from the channel, gives up its privileges, then runs the job. Never returns.

Descriptors when untrusted code starts: 0 input, 1 and 2 output, 3 the errors pipe, 4 and 5 the channel in and out (not for
stdin jobs, whose channel is their standard output). Nothing else is open, and nothing but the job has been read.
"""

import atexit
import builtins
import contextlib
import fcntl
import importlib
import json
import os
import sys
import threading
import types
from typing import Any

from . import confinement, function_server, kernel, seccomp, tester
from .frames import read_frame, write_frame

ERRORS_FD = 3
REQUESTS_FD = 4
REPLIES_FD = 5
_MAX_JOB_BYTES = 1 << 30
_MAX_ERROR_CHARACTERS = 1000

# What LiveCodeBench puts before every program.
_PRELUDE_MODULES = (
    "string re datetime collections heapq bisect copy math random statistics itertools functools operator io sys json"
)
_PRELUDE = "".join(f"from {name} import *\n" for name in [*_PRELUDE_MODULES.split(), "builtins", "typing"]) + "".join(
    f"import {name}\n" for name in _PRELUDE_MODULES.split()
)
_RECURSION_LIMIT = 50_000
_MORE_MODULES = "array abc cmath contextlib dataclasses decimal enum fractions numbers queue time traceback types typing"
_prelude_names: dict[str, Any] = {}
# The process id of a program in a process namespace of its own, right after the warden.
_USUAL_PID = 2


def preload() -> None:
    """Import what programs import most, and prepare what every one needs, once, before any of them is there."""
    for name in [*_PRELUDE_MODULES.split(), *_MORE_MODULES.split()]:
        importlib.import_module(name)
    # The interpreter runs without `site`, which would have defined these.
    builtins.exit = builtins.quit = sys.exit  # type: ignore[assignment]
    exec(_PRELUDE, _prelude_names)
    for name in ("__builtins__", "__name__"):
        _prelude_names.pop(name, None)
    if seccomp.is_supported():
        seccomp.build_filter(kernel.MACHINE, _USUAL_PID, False)


def run(request: dict[str, Any], namespace_kind: str | None, proc_fd: int | None, scratch: str) -> None:
    """Do one job and end the process."""
    exit_code = 1
    try:
        os.setsid()
        job = read_frame(request["channel_fd"], _MAX_JOB_BYTES)
        proc_fd = _arrange_descriptors(request, job, proc_fd)
        protections = confinement.confine(request, namespace_kind, proc_fd, scratch)
        os.chdir(scratch)
        _reset_interpreter()
        exit_code = _JOBS[job["mode"]](job, protections)
    except BaseException as error:
        report_error(error)
    finally:
        os._exit(exit_code)


def _arrange_descriptors(request: dict[str, Any], job: dict[str, Any], proc_fd: int | None) -> int | None:
    """Put the descriptors into their places and close every other one; the new number of `proc_fd`, if there is one."""
    null = os.open("/dev/null", os.O_RDWR)
    replies_fd = request.get("replies_fd", request["channel_fd"])
    stdin, stdout = null, null
    if job["mode"] == "stdin":
        stdin, stdout = _as_file(job.pop("input")), replies_fd
    wanted = [stdin, stdout, null, request["errors_fd"], request["channel_fd"], replies_fd]
    wanted += [proc_fd] if proc_fd is not None else []
    # First out of the way of the low numbers, then into place.
    copies = [fcntl.fcntl(fd, fcntl.F_DUPFD, 64) for fd in wanted]
    for place, copy in enumerate(copies):
        os.dup2(copy, place)
    os.closerange(len(wanted), 65_536)
    if job["mode"] == "stdin":
        os.close(REQUESTS_FD)
        os.close(REPLIES_FD)
    os.set_blocking(ERRORS_FD, job["mode"] == "tests")
    return REPLIES_FD + 1 if proc_fd is not None else None


def _as_file(text: str) -> int:
    fd = os.memfd_create("input", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    data = memoryview(text.encode("utf-8", "surrogatepass"))
    while data:
        data = data[os.write(fd, data) :]
    os.lseek(fd, 0, os.SEEK_SET)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_WRITE)
    return fd


def _reset_interpreter() -> None:
    os.environ.clear()
    # Programs may print and read integers of any length: what takes too long runs out of time.
    sys.set_int_max_str_digits(0)
    sys.argv = ["program.py"]
    sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8")  # noqa: SIM115
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]
    atexit._clear()


def new_module(name: str) -> types.ModuleType:
    """An empty module that classes defined in it can find under its name."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    return module


def add_prelude(module: types.ModuleType) -> None:
    """Give a module what LiveCodeBench's prelude gives every program."""
    module.__dict__.update(_prelude_names)
    sys.setrecursionlimit(_RECURSION_LIMIT)


def load(module: types.ModuleType, code: str) -> None:
    """Run a program in the module. Raises what it raises, SystemExit included."""
    exec(compile(code, "<program>", "exec", dont_inherit=True), module.__dict__)


def report_error(error: BaseException) -> None:
    """What went wrong, for the verdict's detail, to the errors pipe; too late or too long texts are dropped."""
    with contextlib.suppress(BaseException):
        os.write(ERRORS_FD, json.dumps(function_server.describe(error)).encode()[: 4 * _MAX_ERROR_CHARACTERS])


def _run_with_stdin(job: dict[str, Any], protections: dict[str, bool]) -> int:
    """Run as a script. The status of sys.exit() is not looked at, as in LiveCodeBench; any other exception is a failure."""
    module = new_module("__main__")
    add_prelude(module)
    code = 0
    try:
        load(module, job["program"])
    except SystemExit:
        pass
    except BaseException as error:
        report_error(error)
        code = 1
    with contextlib.suppress(BaseException):
        # What the interpreter does at its end: wait for threads, call exit functions (many fast-output recipes print there).
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    with contextlib.suppress(BaseException):
        sys.stdout.flush()
    return code


def _serve_functions(job: dict[str, Any], protections: dict[str, bool]) -> int:
    module = new_module("solution")
    try:
        if job["prelude"]:
            add_prelude(module)
        load(module, job["preamble"])
        for name in job["withhold"]:
            module.__dict__.pop(name, None)
        load(module, job["program"])
    except BaseException as error:
        write_frame(REPLIES_FD, {"raised": function_server.describe(error)})
        return 1
    write_frame(REPLIES_FD, {"ready": True})
    function_server.serve(REQUESTS_FD, REPLIES_FD, module, job["max_frame_bytes"])
    return 0


def _run_tests(job: dict[str, Any], protections: dict[str, bool]) -> int:
    write_frame(REPLIES_FD, tester.run_tests(job, ERRORS_FD))
    return 0


def _tell_protections(job: dict[str, Any], protections: dict[str, bool]) -> int:
    write_frame(REPLIES_FD, protections)
    return 0


_JOBS = {"stdin": _run_with_stdin, "functions": _serve_functions, "tests": _run_tests, "protections": _tell_protections}
