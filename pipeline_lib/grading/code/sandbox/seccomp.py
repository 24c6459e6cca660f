"""A seccomp filter that allows the system calls Python needs for computing and refuses every other one (EPERM).

An allow-list: sockets, ptrace, mount, keys, bpf, io_uring, namespaces and whatever the next kernel brings are refused without
being named. A few calls are allowed only with some arguments, so that a program signals only itself and makes only threads.
"""

import ctypes
import functools
import os
import struct

from . import kernel
from .syscall_numbers import NUMBERS, number_of

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_SET, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET, _ARGUMENTS_OFFSET = 0, 4, 16
_X32_BIT = 0x40000000
_SECCOMP_MODE_FILTER = 2

_CLONE_THREAD = 0x10000
_CLONE_NAMESPACES = 0x7E020000 | 0x80
_AF_UNIX, _SOCK_TYPE_MASK, _SOCK_STREAM = 1, 0xF, 1
# TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX: what Python asks of a file.
_IOCTL_REQUESTS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)

_CONDITIONAL = {"clone", "clone3", "kill", "tgkill", "socketpair", "sendto", "ioctl", "prlimit64"}
_FOR_PROCESSES = {"fork", "vfork", "execve", "execveat", "setpgid", "setsid"}

Instruction = tuple[int, int, int, int]


def is_supported() -> bool:
    """Whether this architecture has a filter here."""
    return kernel.MACHINE in _ARCHITECTURES


def _argument(index: int, high: bool = False) -> Instruction:
    return (_LOAD, 0, 0, _ARGUMENTS_OFFSET + 8 * index + (4 if high else 0))


def _allow_if_equal(*conditions: tuple[int, int]) -> list[Instruction]:
    """Allow when the low half of each argument (index, value) has that value; otherwise refuse."""
    body: list[Instruction] = []
    for place, (index, value) in enumerate(conditions):
        remaining = 2 * (len(conditions) - place - 1)
        body += [_argument(index), (_JUMP_EQUAL, 0, remaining + 1, value)]
    return [*body, (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ERRNO | _EPERM)]


def _conditional_rules(pid: int, allow_processes: bool) -> dict[str, list[Instruction]]:
    """For each call allowed with some arguments only, what follows once its number matched: ends in a return."""
    allow, refuse = (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ERRNO | _EPERM)
    clone: list[Instruction] = [_argument(0), (_JUMP_SET, 2, 0, _CLONE_NAMESPACES)]
    # Without processes: a clone that is not a thread is refused.
    clone += [(_JUMP_SET, 0, 1, 0xFFFFFFFF if allow_processes else _CLONE_THREAD), allow, refuse]
    ioctl: list[Instruction] = [_argument(1)]
    for request in _IOCTL_REQUESTS:
        ioctl += [(_JUMP_EQUAL, 0, 1, request), allow]
    return {
        "clone": clone,
        # Its flags lie in memory, out of a filter's sight; the C library falls back on clone.
        "clone3": [(_RETURN, 0, 0, _ERRNO | _ENOSYS)],
        "kill": [allow] if allow_processes else _allow_if_equal((0, pid)),
        "tgkill": [allow] if allow_processes else _allow_if_equal((0, pid)),
        "socketpair": [
            *(_argument(0), (_JUMP_EQUAL, 0, 4, _AF_UNIX)),
            *(_argument(1), (_AND, 0, 0, _SOCK_TYPE_MASK), (_JUMP_EQUAL, 0, 1, _SOCK_STREAM), allow, refuse),
        ],
        # No address: only to the other end of a pair.
        "sendto": [
            *(_argument(4), (_JUMP_EQUAL, 0, 3, 0), _argument(4, high=True), (_JUMP_EQUAL, 0, 1, 0), allow, refuse),
        ],
        "ioctl": [*ioctl, refuse],
        "prlimit64": [_argument(0), (_JUMP_EQUAL, 1, 0, 0), (_JUMP_EQUAL, 0, 1, pid), allow, refuse],
    }


@functools.cache
def build_filter(machine: str, pid: int, allow_processes: bool) -> bytes:
    """The filter's instructions (8 bytes each) for a process of this id. Raises KeyError for an unknown architecture.

    Signals may go to any process when `allow_processes`: the process namespace, a precondition of it, shows no others.
    """
    program: list[Instruction] = [
        *((_LOAD, 0, 0, _ARCHITECTURE_OFFSET), (_JUMP_EQUAL, 1, 0, _ARCHITECTURES[machine]), (_RETURN, 0, 0, _KILL_PROCESS)),
        (_LOAD, 0, 0, _NUMBER_OFFSET),
    ]
    if machine == "x86_64":
        program += [(_JUMP_AT_LEAST, 0, 1, _X32_BIT), (_RETURN, 0, 0, _KILL_PROCESS)]
    conditional = _conditional_rules(pid, allow_processes)
    for name in NUMBERS:
        number = number_of(name, machine)
        if number is None or (name in _FOR_PROCESSES and not allow_processes):
            continue
        body = conditional[name] if name in _CONDITIONAL else [(_RETURN, 0, 0, _ALLOW)]
        program += [(_JUMP_EQUAL, 0, len(body), number), *body]
    program.append((_RETURN, 0, 0, _ERRNO | _EPERM))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


class _FilterProgram(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def install(allow_processes: bool) -> bool:
    """Put the filter on the calling process, for good; False on an architecture without one.

    Needs no_new_privs. Raises OSError when the kernel refuses.
    """
    if not is_supported():
        return False
    instructions = build_filter(kernel.MACHINE, os.getpid(), allow_processes)
    program = _FilterProgram(len(instructions) // 8, instructions)
    kernel.prctl(kernel.PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program))
    return True
