"""Takes away from the calling process, for good, what an untrusted program must not have."""

import contextlib
import math
import os
import resource
from typing import Any

from . import kernel, landlock, namespaces, seccomp

# Freed only by another process's end, so the program's own processes must be counted apart from anyone else's.
_FIRST_PRIVATE_UID = 1 << 30


def private_uid(owner_pid: int, place: int) -> int:
    """A user id that no other program has at the same time: by the grader's process id and the place in its pool (0-63)."""
    return _FIRST_PRIVATE_UID + (owner_pid % (1 << 22)) * 64 + place % 64


def limit_resources(limits: dict[str, Any], num_tasks: int | None) -> None:
    """Set the rlimits: CPU seconds, address space, file size, open files, tasks (None: not bound here), no core dump."""
    cpu_seconds = max(1, math.ceil(limits["cpu_seconds"]))
    wanted = {
        # The soft limit's signal ends the program; the hard one is for a program that catches it.
        resource.RLIMIT_CPU: (cpu_seconds, cpu_seconds + 1),
        resource.RLIMIT_AS: (limits["memory_bytes"],) * 2,
        resource.RLIMIT_FSIZE: (limits["file_bytes"],) * 2,
        resource.RLIMIT_NOFILE: (limits["num_open_files"],) * 2,
        resource.RLIMIT_CORE: (0, 0),
    }
    if num_tasks is not None:
        wanted[resource.RLIMIT_NPROC] = (num_tasks, num_tasks)
    for kind, (soft, hard) in wanted.items():
        ceiling = resource.getrlimit(kind)[1]
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        resource.setrlimit(kind, (soft, hard))


def _become_own_user(namespace_kind: str | None, proc_fd: int | None, uid: int) -> bool:
    if namespace_kind == "user" and proc_fd is not None:
        return _enter_private_user_namespace(proc_fd)
    return can_have_private_user(namespace_kind) and _become_private_user(uid)


def _become_private_user(uid: int) -> bool:
    """As root: change to a user of the program's own. False where that is not permitted."""
    try:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    except OSError:
        return False
    return True


def _enter_private_user_namespace(proc_fd: int) -> bool:
    """As a plain user: a user namespace of its own, which counts its tasks apart, without any capability in it."""
    uid, gid = os.geteuid(), os.getegid()
    try:
        kernel.unshare(kernel.CLONE_NEWUSER)
        namespaces.map_identity("self", uid, gid, folder_fd=proc_fd)
    except OSError:
        return False
    return True


def confine(request: dict[str, Any], namespace_kind: str | None, proc_fd: int | None, scratch: str) -> dict[str, bool]:
    """Apply everything that the kernel allows, in the only order that works; what came into force.

    `request["tasks_are_bound"]` says whether RLIMIT_NPROC works here (see `task_limit_binds`), `request["limits"]` are the
    fields of SandboxLimits. Raises OSError when something the kernel offers fails half-way: an unconfined program must not run.
    """
    limits = request["limits"]
    own_user = _become_own_user(namespace_kind, proc_fd, request["uid"])
    if proc_fd is not None:
        os.close(proc_fd)
    limit_resources(limits, limits["num_tasks"] if own_user else None)
    with contextlib.suppress(OSError):
        kernel.drop_capabilities()
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    landlock_version = landlock.restrict(namespaces.readable_paths(), scratch)
    bound = own_user and bool(request["tasks_are_bound"])
    processes = bool(limits["allow_processes"]) and bound and namespace_kind is not None
    filtered = seccomp.install(processes)
    return {
        "pid_namespace": namespace_kind is not None,
        "mount_namespace": namespace_kind is not None,
        "network_namespace": namespace_kind is not None,
        "own_user": own_user,
        "landlock": landlock_version > 0,
        "seccomp": filtered,
        "task_limit": bound,
    }


def task_limit_binds(namespace_kind: str | None, proc_fd: int | None, uid: int) -> bool:
    """Whether RLIMIT_NPROC stops a program here, by trying: it does not bind a user namespace's user who is root outside."""
    pid = os.fork()
    if pid == 0:
        bound = False
        try:
            own_user = _become_own_user(namespace_kind, proc_fd, uid)
            resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
            kernel.drop_capabilities()
            if own_user and os.fork() == 0:
                os._exit(0)
        except BlockingIOError:
            bound = True
        finally:
            os._exit(bound)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1


def can_have_private_user(namespace_kind: str | None) -> bool:
    """Whether a program can get a user id of its own: this is root, and another user reaches the standard library.

    That is so in a file system root of our own, and else decided by the permissions of every folder above it.
    """
    if not namespaces.is_full_root():
        return False
    path = os.path.dirname(os.path.realpath(os.__file__))
    while namespace_kind is None and path != "/":
        if not os.stat(path).st_mode & 0o001:
            return False
        path = os.path.dirname(path)
    return True
