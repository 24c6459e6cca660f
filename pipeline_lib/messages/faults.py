"""What a failure means, as one line that a user can act on, and what a home must be like before work on it begins."""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipeline_lib.messages.addresses import without_password

MIB = 1 << 20
# Below this no stage gets anywhere: the databases alone need as much.
LEAST_FREE_BYTES = 16 * MIB
LONGEST_LINE = 600

RESUMES = "the same command resumes from what is stored"
LESS_MEMORY = (
    "less is needed with smaller generation.max_num_seqs, generation.kv_cache_gib (CPU), generation.gpu_memory_utilization (GPU), "
    "compute.micro_batch_tokens, with compute.optimizer_offload or gradient_checkpointing, or with control.side_by_side = false; "
    "laconic check plans a GPU's memory"
)

_CODES = {errno.ENOSPC: "full", errno.EDQUOT: "quota", errno.EFBIG: "too large", errno.ENOMEM: "memory"}
_PASSING = (errno.EIO, errno.ESTALE, errno.EAGAIN, errno.EBUSY)
# What libraries make of the system's codes; most of them keep the words alone.
_WORDS = {
    "full": ("No space left on device", "database or disk is full"),
    "quota": ("Disk quota exceeded",),
    "too large": ("File too large",),
    "memory": ("out of memory", "can't allocate memory", "Cannot allocate memory", "Unable to allocate", "bad_alloc"),
    # Errors that say a write failed and not why: the disk is asked.
    "failed write": ("inline_container.cc", "iostream error", "disk I/O error", "PytorchStreamWriter failed"),
}
_PATH = re.compile(r"""["'](/[^"'\n]+)["']""")
# Subfolders and files of a home that commands write into.
_FOLDERS = ("rollouts", "workers", "training", "checkpoints", "reports", "prefect", "mlartifacts")
_FILES = ("mlflow.db", "laconic.duckdb")
_DUCKDB_MAGIC = slice(8, 12)


class Explained(RuntimeError):
    """An error whose message is a line for the user, made where it was known what had happened."""


def explain(error: BaseException, home: Path) -> str:
    """One line on an error: for a full disk or lack of memory what to do, else its message, with its kind where that helps."""
    for each in _origins(error):
        if isinstance(each, Explained):
            return one_line(str(each))
        kind, text = _kind(each), one_line(str(each))
        if kind in ("full", "quota", "failed write"):
            path = _path_in(each, home)
            if kind != "failed write" or _free_bytes(path) < LEAST_FREE_BYTES:
                return _disk_line(path, kind)
        if kind == "too large":
            return f"{_path_in(each, home)} would become larger than this user's files may (see ulimit -f); raise it, then {RESUMES}"
        if kind == "memory":
            return f"out of memory ({text or type(each).__name__}); {LESS_MEMORY}; then {RESUMES}"[:LONGEST_LINE]
    text = one_line(str(error))
    # These were written for users; the message of another, such as KeyError, says little without its name.
    is_plain = isinstance(error, ValueError | OSError) or type(error) is RuntimeError
    is_told = is_plain or type(error).__module__.startswith("pipeline_lib")
    line = text if is_told and text else f"{type(error).__name__}: {text}".removesuffix(": ")
    line = line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} …"
    # Whatever it is about, on such a disk it comes from that.
    return f"{line}; {_disk_line(home, 'full')}" if _free_bytes(home) < MIB // 4 else line


def will_repeat(error: BaseException) -> bool:
    """Whether the same work would meet an error again. What memory, a device, a disk or a lost rank may cause need not come again."""
    kinds = {_kind(each) for each in _origins(error)}
    if "memory" in kinds:
        return False
    is_of_ours = type(error).__module__.startswith("pipeline_lib")
    is_passing = isinstance(error, RuntimeError | ConnectionError | TimeoutError) or getattr(error, "errno", None) in _PASSING
    return bool(kinds - {None}) or is_of_ours or not is_passing


def still_called_running(run_id: str, trouble: BaseException, home: Path) -> str:
    """A line on a run whose end could not be noted."""
    return (
        f"run {run_id} is still called running ({explain(trouble, home)}): the next command that can write the home says failed"
    )


def one_line(text: str) -> str:
    """A text without line breaks, and without passwords in its addresses."""
    return " ".join(without_password(text).split())


def _origins(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from, the outermost first."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop(0)
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [*getattr(each, "exceptions", ()), each.__cause__, each.__context__]


def _kind(error: BaseException) -> str | None:
    if isinstance(error, MemoryError):
        return "memory"
    if isinstance(error, OSError) and error.errno in _CODES:
        return _CODES[error.errno]
    if isinstance(error, ValueError):  # a user's mistake, which may quote anything
        return None
    text = str(error)
    return next((kind for kind, words in _WORDS.items() if any(word in text for word in words)), None)


def _path_in(error: BaseException, home: Path) -> Path:
    named = getattr(error, "filename2", None) or getattr(error, "filename", None)
    found = _PATH.search(str(error))
    path = named if isinstance(named, str) else found.group(1) if found else home
    return Path(os.fsdecode(path))


def _disk_line(path: Path, kind: str) -> str:
    what = "the quota there is used up" if kind == "quota" else "the disk is full"
    usage = shutil.disk_usage(_existing(path))
    room = f"{usage.free / MIB:.1f} MiB free of {usage.total / MIB:.1f}, at least {LEAST_FREE_BYTES // MIB} MiB are needed"
    return f"{path} could not be written: {what} ({room}); make room, then {RESUMES}"


def _free_bytes(path: Path) -> int:
    return shutil.disk_usage(_existing(path)).free


def _existing(path: Path) -> Path:
    # Path.exists raises for names that are too long and in folders that are closed.
    return next(folder for folder in (path, *path.absolute().parents) if os.path.exists(folder))


def make_home(home: Path) -> None:
    """Create the home folder if it is not there. Raises ValueError where that cannot be."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        os.listdir(home)
        (home / "laconic.duckdb").exists()
    except FileExistsError:
        raise ValueError(f"LACONIC_HOME = {home} is a file: it must be a folder") from None
    except OSError as error:
        raise ValueError(f"LACONIC_HOME = {home} cannot be used: {error.strerror} ({error.filename})") from error


def require_writable(home: Path) -> None:
    """Raise ValueError, in one line, when work on a home would fail later: it cannot be written, or has no room left."""
    make_home(home)
    advice = "set LACONIC_HOME to a folder that can be written"
    try:
        tempfile.TemporaryFile(dir=home).close()
    except OSError as error:
        if not any(_kind(each) in ("full", "quota", "too large") for each in _origins(error)):
            raise ValueError(f"LACONIC_HOME = {home} cannot be written: {error.strerror}; {advice}") from error
    if _free_bytes(home) < LEAST_FREE_BYTES:
        raise ValueError(_disk_line(home, "full"))
    for name in (*_FOLDERS, *_FILES):
        path = home / name
        if path.exists() and not os.access(path, os.W_OK | (os.X_OK if path.is_dir() else os.R_OK)):
            raise ValueError(f"{path} cannot be written: give this user the permission, or {advice}")
    database = home / "laconic.duckdb"
    if database.exists():
        with open(database, "rb") as file:
            if file.read(_DUCKDB_MAGIC.stop)[_DUCKDB_MAGIC] != b"DUCK":
                raise ValueError(f"{database} is not a DuckDB file: move it away, or bring it back from a backup")
