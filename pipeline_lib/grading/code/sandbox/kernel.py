"""The Linux calls the sandbox needs and Python 3.11 does not offer, through ctypes. Every failure is an OSError."""

import ctypes
import os
import platform

MACHINE = platform.machine()

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_NOATIME, MS_NODIRATIME, MS_BIND = 32, 1024, 2048, 4096
MS_REC, MS_PRIVATE, MS_RELATIME = 16384, 1 << 18, 1 << 21
MNT_DETACH = 2

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 1, 4, 38, 22
PR_SET_CHILD_SUBREAPER, PR_CAPBSET_DROP = 36, 24

# The library is loaded once, before any fork.
_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, call: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
    return result


def syscall(number: int, *arguments: object) -> int:
    """A raw system call; integers are passed as C longs."""
    converted = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *converted), f"system call {number}")


def unshare(flags: int) -> None:
    """Leave the namespaces of these flags for new ones."""
    _checked(_libc.unshare(ctypes.c_int(flags)), "unshare")


def enter_namespace(fd: int, kind: int) -> None:
    """Join the namespace that the descriptor stands for."""
    _checked(_libc.setns(ctypes.c_int(fd), ctypes.c_int(kind)), "setns")


def mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """mount(2)."""
    _checked(
        _libc.mount(
            source.encode(),
            target.encode(),
            kind.encode() if kind else None,
            ctypes.c_ulong(flags),
            options.encode() if options else None,
        ),
        f"mount {target}",
    )


def pivot_root_here() -> None:
    """Make the working directory, a mount point, the root of the mount namespace, and let go of the old one."""
    from .syscall_numbers import PIVOT_ROOT

    syscall(PIVOT_ROOT[0 if MACHINE == "x86_64" else 1], ctypes.c_char_p(b"."), ctypes.c_char_p(b"."))
    _checked(_libc.umount2(b".", ctypes.c_int(MNT_DETACH)), "umount .")
    os.chdir("/")


def prctl(option: int, *arguments: object) -> int:
    """prctl(2); integers are passed as unsigned longs, missing arguments as zero."""
    converted = [ctypes.c_ulong(value) if isinstance(value, int) else value for value in arguments]
    converted += [ctypes.c_ulong(0)] * (4 - len(converted))
    return _checked(_libc.prctl(ctypes.c_int(option), *converted), f"prctl {option}")


def set_hostname(name: str) -> None:
    """sethostname(2)."""
    _checked(_libc.sethostname(name.encode(), ctypes.c_size_t(len(name))), "sethostname")


def drop_capabilities() -> None:
    """Give up every capability, now and for good."""
    last = 63
    for capability in range(last + 1):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:
            break
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    _checked(_libc.capset(header, data), "capset")
