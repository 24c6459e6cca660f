"""Which protections are in force on this machine, as a program in the sandbox finds them."""

import logging
import threading
from time import monotonic

from pipeline_lib.grading.code.execution import Execution, Launcher, Overrun
from pipeline_lib.grading.code.sandbox.confinement import private_uid
from pipeline_lib.grading.code.sandbox.frames import ChannelClosed
from pipeline_lib.grading.code.verdicts import SandboxLimits
from pipeline_lib.grading.code.zygote_process import SandboxGone

logger = logging.getLogger(__name__)

PROTECTIONS = {
    "mount_namespace": "a file system of its own",
    "pid_namespace": "process ids of its own",
    "network_namespace": "a network of its own, without any interface",
    "own_user": "a user of its own",
    "task_limit": "a limit on processes and threads",
    "landlock": "Landlock rules for files",
    "seccomp": "a filter on system calls",
}

_PROBE_TIMEOUT_SECONDS = 20.0
_PROBE_PLACE = 62
_warned = False
_warning_lock = threading.Lock()


def probe_protections(launcher: Launcher) -> dict[str, bool]:
    """What a program really runs under, told by a confined process before any program is in it. Raises RuntimeError."""
    deadline = monotonic() + _PROBE_TIMEOUT_SECONDS
    try:
        with Execution(launcher, SandboxLimits(), deadline, _PROBE_TIMEOUT_SECONDS, private_uid(0, _PROBE_PLACE)) as execution:
            try:
                execution.send({"mode": "protections"})
                found = execution.receive(4096)
            except (ChannelClosed, Overrun) as error:
                raise RuntimeError(f"the code sandbox does not work: {execution.wait().detail}") from error
    except SandboxGone as error:
        raise RuntimeError(f"the code sandbox does not work: {error}") from error
    return {name: bool(found[name]) for name in PROTECTIONS}


def warn_of_missing(protections: dict[str, bool]) -> None:
    """Log one warning a process that names what is missing."""
    global _warned
    missing = [PROTECTIONS[name] for name, in_force in protections.items() if not in_force]
    with _warning_lock:
        if missing and not _warned:
            _warned = True
            logger.warning("programs are graded without %s: see docs/code_grading.md", ", ".join(missing))
