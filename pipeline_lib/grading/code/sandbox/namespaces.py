"""Namespaces: an empty network, a file system of nothing but Python and a scratch folder, and process ids of its own."""

import contextlib
import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from . import kernel

SCRATCH = "/tmp"
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_STATVFS_TO_MOUNT = {2: kernel.MS_NOSUID, 4: kernel.MS_NODEV, 8: kernel.MS_NOEXEC, 1024: kernel.MS_NOATIME}
_STATVFS_TO_MOUNT |= {2048: kernel.MS_NODIRATIME, 4096: kernel.MS_RELATIME}


@functools.cache
def readable_paths() -> tuple[str, ...]:
    """What a program may read: the standard library, shared libraries, time zones and harmless devices."""
    candidates = [os.path.dirname(os.__file__), f"{sys.base_prefix}/lib", "/lib", "/lib64", "/usr/lib", "/usr/lib64"]
    candidates += ["/usr/share/zoneinfo", "/etc/ld.so.cache", *_DEVICES]
    return tuple(path for path in dict.fromkeys(candidates) if os.path.exists(path))


@functools.cache
def is_full_root() -> bool:
    """Whether this is root over all user ids, not root of a user namespace (in a rootless container) that maps only some.

    Asked first while /proc is still there; forked processes remember the answer.
    """
    with open("/proc/self/uid_map") as uid_map:
        return os.geteuid() == 0 and uid_map.read().split() == ["0", "0", "4294967295"]


def leave_namespaces() -> str | None:
    """Move the calling process (and its next child: the process ids) into new namespaces.

    Returns "root" (privileged, without a user namespace), "user" (inside a user namespace of its own) or None (the kernel
    refused both).
    """
    kinds = kernel.CLONE_NEWNS | kernel.CLONE_NEWPID | kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS
    if is_full_root():
        with contextlib.suppress(OSError):
            kernel.unshare(kinds)
            return "root"
    uid, gid = os.geteuid(), os.getegid()
    try:
        kernel.unshare(kinds | kernel.CLONE_NEWUSER)
        map_identity("/proc/self", uid, gid)
    except OSError:
        return None
    return "user"


def map_identity(process_folder: str, uid: int, gid: int, folder_fd: int | None = None) -> None:
    """In a new user namespace, let this user and group be themselves. `process_folder` is relative to `folder_fd` if given."""
    for name, content in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        fd = os.open(f"{process_folder}/{name}", os.O_WRONLY, dir_fd=folder_fd)
        try:
            os.write(fd, content.encode())
        finally:
            os.close(fd)


def build_root(paths: Sequence[str]) -> None:
    """Replace the root of this mount namespace by one that holds these paths read-only and an empty SCRATCH.

    Raises OSError; the caller is then in a half-changed mount namespace and should end.
    """
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    # Opened before the new root covers /tmp, in which Python itself may lie.
    sources = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in paths if not os.path.islink(path)}
    links = {path: os.readlink(path) for path in paths if os.path.islink(path)}
    kernel.mount("tmpfs", "/tmp", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=1m,mode=755")
    for path, target in links.items():
        place = Path(f"/tmp{path}")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)
    for path, fd in sorted(sources.items()):
        _bind_read_only(fd, f"/tmp{path}")
        os.close(fd)
    os.mkdir(f"/tmp{SCRATCH}")
    os.chdir("/tmp")
    kernel.pivot_root_here()
    kernel.mount("none", "/", None, kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV)


def _bind_read_only(fd: int, target: str) -> None:
    source = f"/proc/self/fd/{fd}"
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    elif not os.path.exists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    kernel.mount(source, target, None, kernel.MS_BIND | kernel.MS_REC)
    # A user namespace may not take away the flags the mount came with.
    inherited = os.statvfs(target).f_flag
    flags = sum(mount_flag for flag, mount_flag in _STATVFS_TO_MOUNT.items() if inherited & flag)
    if not target.startswith("/tmp/dev/"):
        flags |= kernel.MS_NODEV
    kernel.mount("none", target, None, flags | kernel.MS_NOSUID | kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_RDONLY)


def mount_scratch(size_bytes: int, uid: int, gid: int) -> None:
    """A fresh SCRATCH in memory for one program, in a mount namespace of its own: it is gone with the last of its processes."""
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount(
        "tmpfs",
        SCRATCH,
        "tmpfs",
        kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC,
        f"size={size_bytes},nr_inodes=4096,mode=700,uid={uid},gid={gid}",
    )
