"""Checkpoints as files: the record that seals one, the proof that it is whole, and which is the newest. Imports no torch.

The record is `progress.json`: what the run knew, the size and SHA-256 of every other file, and a digest of the record itself. It
is written last, everything is flushed to the disk, and only then the folder gets its name. So a folder `step-<n>` that does not
agree with its record to the byte was damaged afterwards.

The digests prove that nothing has changed since, not who wrote it: whoever can write into a home can write a record, too. That is
why nothing in a checkpoint is ever executed (`policy.load_plain`), wherever it is from, and why one that was written by another
user, on another machine or under another path is said to be from there before it is resumed.
"""

import hashlib
import json
import logging
import os
import re
import socket
import stat
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipeline_lib.files.whole_files import flush
from pipeline_lib.jobs import read_json, write_json
from pipeline_lib.records import CheckpointRecord

RECORD = "progress.json"
# The folder of a checkpoint that holds LoRA's adapters, beside that of the model they are merged into.
ADAPTER = "adapter"
# hashlib lets other threads run while it digests: a checkpoint of many files is read as fast as the disk allows.
HASHING_THREADS = 4

logger = logging.getLogger(__name__)


class CheckpointError(ValueError):
    """A checkpoint that is damaged or gone; the message is one line that names it and what is wrong."""


def step_name(step: int) -> str:
    """Folder name of a checkpoint."""
    return f"step-{step:05d}"


def checkpoints_in(folder: Path) -> dict[int, Path]:
    """Every checkpoint of a run by rising step, whole or not; what is being written, or was set aside, is none."""
    found = {
        int(path.name.removeprefix("step-")): path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if re.fullmatch(r"step-\d{5,}", path.name)
    }
    return dict(sorted(found.items()))


def seal(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the record of a finished checkpoint, and see everything on the disk: a rename may outlive a power loss that data do not."""
    paths = sorted(_files_in(folder))
    with ThreadPoolExecutor(HASHING_THREADS) as pool:
        digests = dict(zip((path.relative_to(folder).as_posix() for path in paths), pool.map(_seal_file, paths), strict=True))
    # Through JSON and back: the digest must be of what a reader finds.
    whole = json.loads(json.dumps({**record, "written_by": _origin(folder.parent), "files": digests}))
    write_json(folder / RECORD, {**whole, "record_sha256": record_digest(whole)})
    _seal_file(folder / RECORD)
    for path in [*(path for path in folder.rglob("*") if path.is_dir()), folder]:
        flush(path)


def read_record(folder: Path) -> dict[str, Any]:
    """The record of a checkpoint. Raises CheckpointError when there is none or it is not as it was written."""
    if not folder.exists():
        raise CheckpointError(f"checkpoint {folder} is gone")
    try:
        _require_plain_file(folder / RECORD)
        record = read_json(folder / RECORD)
    except OSError as error:
        raise _damaged(folder, RECORD, _reason(error)) from error
    except ValueError as error:
        raise _damaged(folder, RECORD, "is not JSON") from error
    if not isinstance(record, dict):
        raise _damaged(folder, RECORD, "is not a record")
    # Either of the two: a flipped bit in the name of one must not make a record from before there were digests of it.
    if record.keys() & {"files", "record_sha256"} and record.get("record_sha256") != record_digest(record):
        raise _damaged(folder, RECORD, "is not as it was written")
    if not isinstance(record.get("step"), int) or step_name(record["step"]) != folder.name:
        raise _damaged(folder, RECORD, f"is of step {record.get('step')!r}")
    return record


def verify(folder: Path, part: str = "") -> dict[str, Any]:
    """The record of a checkpoint whose files are as they were written; with `part` those below that folder of it.

    One from before there were digests proves nothing. Raises CheckpointError for the first thing wrong.
    """
    record = read_record(folder)
    if "files" not in record:
        return record
    named = {name: known for name, known in record["files"].items() if name.startswith(part)}
    try:
        there = {path.relative_to(folder).as_posix() for path in _files_in(folder / part)}
    except OSError as error:
        raise _damaged(folder, part or ".", _reason(error)) from error
    for name in sorted(there - named.keys() - {RECORD}):
        raise _damaged(folder, name, "was not written by the run")
    with ThreadPoolExecutor(HASHING_THREADS) as pool:
        for name, problem in zip(named, pool.map(lambda item: _problem(folder / item[0], item[1]), named.items()), strict=True):
            if problem:
                raise _damaged(folder, name, problem)
    return record


def choose_resume_step(folder: Path, recorded_to: int | None = None) -> int:
    """The step of the newest whole checkpoint of a run; 0 when training starts anew.

    A damaged checkpoint is named in a line and set aside; of those before the newest only the models are looked at. So are those
    after `recorded_to`: the records of a step after it are lost, and only training makes them again. Called by one process before
    the ranks start, so that all take the same one.
    """
    found = checkpoints_in(folder)
    if later := [step for step in found if recorded_to is not None and step > recorded_to]:
        aside = ", ".join(set_aside(found.pop(step)).name for step in later)
        told = "the records of step %d are lost, and the store has none: trained again from before it; set aside in %s: %s"
        logger.warning(told, (recorded_to or 0) + 1, folder, aside)
    newest: dict[str, Any] | None = None
    for path in reversed(found.values()):
        try:
            record = verify(path, "model/" if newest else "")
        except CheckpointError as error:
            logger.warning("%s: set aside as %s", error, set_aside(path).name)
        else:
            newest = newest or record
    if newest is None:
        if found:
            logger.warning("no checkpoint in %s is whole: training starts at step 0", folder)
        return 0
    _say_what_is_special(folder, newest)
    return int(newest["step"])


def _say_what_is_special(folder: Path, newest: Mapping[str, Any]) -> None:
    """What a user must know before training resumes from a checkpoint."""
    path, origin = folder / step_name(newest["step"]), _origin(folder)
    _warn_if_unproven(path, newest)
    if newest.get("written_by", origin) != origin:
        told = "it is as it was written there, and nothing in it is executed"
        logger.warning("checkpoint %s was written elsewhere, by %s (here is %s): %s", path, newest["written_by"], origin, told)
    best = best_checkpoint(folder, newest)
    if best and best["step"] != newest["best_step"]:
        told = "the best checkpoint, of step %d, is not in %s any more: the best of those left is that of step %d"
        logger.warning(told, newest["best_step"], folder, best["step"])


def _warn_if_unproven(path: Path, record: Mapping[str, Any]) -> None:
    if "files" not in record:
        logger.warning("checkpoint %s is from before checkpoints had digests: it is used without proof that it is whole", path)


def best_checkpoint(folder: Path, newest: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of the best checkpoint by what the newest one's says; where that is gone, of the best of those that are left.

    The most accurate is the best, then the shortest, then the earliest; without any measurement the newest. None when nothing has
    been called the best.
    """
    if newest["best_step"] is None:
        return None
    records = {step: record for step, record in readable_records(folder).items() if step <= newest["step"]}
    if newest["best_step"] in records:
        return records[newest["best_step"]]
    measured = [record for record in records.values() if record["validation_accuracy"] is not None]
    if not measured:
        return records.get(newest["step"])
    return max(measured, key=lambda record: (record["validation_accuracy"], -(record.get("validation_mean_tokens") or 0.0)))


def readable_records(folder: Path) -> dict[int, dict[str, Any]]:
    """The records of a run's checkpoints by rising step, without those that are not as they were written."""
    records = {}
    for step, path in checkpoints_in(folder).items():
        with suppress(CheckpointError):
            records[step] = read_record(path)
    return records


def checkpoint_records(run_id: str, folder: Path) -> list[CheckpointRecord]:
    """The checkpoints of a run whose records are as they were written, and which is the best (`best_checkpoint`)."""
    records = readable_records(folder)
    if not records:
        return []
    best = best_checkpoint(folder, next(reversed(records.values())))
    return [
        CheckpointRecord(
            run_id, step, str(folder / step_name(step)), best is not None and step == best["step"], saved["validation_accuracy"]
        )
        for step, saved in records.items()
    ]


def require_model(folder: Path, run_id: str) -> Path:
    """The model folder of a checkpoint, proven to be as it was written. Raises CheckpointError, which says what to do."""
    with naming_remedy(run_id):
        _warn_if_unproven(folder, verify(folder, "model/"))
    return folder / "model"


def require_adapter(folder: Path, run_id: str) -> Path | None:
    """The adapter's folder of a checkpoint, proven to be as it was written; None without LoRA. Raises CheckpointError."""
    with naming_remedy(run_id):
        has_one = any(name.startswith(f"{ADAPTER}/") for name in read_record(folder).get("files", ()))
        if has_one:
            verify(folder, f"{ADAPTER}/")
    return folder / ADAPTER if has_one else None


@contextmanager
def naming_remedy(run_id: str) -> Iterator[None]:
    """Say with a CheckpointError what to do about it."""
    try:
        yield
    except CheckpointError as error:
        remedy = (
            f"put it back from a backup, or run 'laconic train' with the configuration of {run_id}, which resumes without it"
        )
        raise CheckpointError(f"{error}: {remedy}") from error


def _files_in(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            yield from _files_in(path)
        else:
            yield path


def _require_plain_file(path: Path) -> os.stat_result:
    """Raises OSError for what is missing, a folder, a link or a device: reading one may lead elsewhere, or never end."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(0, "is not a plain file")
    return status


def _seal_file(path: Path) -> dict[str, Any]:
    with open(path, "rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
        os.fsync(handle.fileno())
        return {"bytes": os.fstat(handle.fileno()).st_size, "sha256": digest}


def _problem(path: Path, known: Mapping[str, Any]) -> str | None:
    """What is wrong with a file of a checkpoint."""
    try:
        size = _require_plain_file(path).st_size
        if size != known["bytes"]:
            return f"has {size} bytes instead of {known['bytes']}"
        with open(path, "rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        return _reason(error)
    return None if digest == known["sha256"] else "has other content than was written"


def _reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "is missing"
    return str(error.strerror) if not error.errno else f"cannot be read ({error.strerror})"


def _damaged(folder: Path, name: str, problem: str) -> CheckpointError:
    return CheckpointError(f"checkpoint {folder} is damaged: {name} {problem}")


def set_aside(path: Path) -> Path:
    """Rename a damaged checkpoint, which nothing looks at then: `step-00020.damaged`, `.damaged-2` and so on. Returns where it is."""
    if not os.path.lexists(path):
        return path
    names = (f"{path.name}.damaged{suffix}" for suffix in ["", *(f"-{number}" for number in range(2, 10**6))])
    aside = next(path.with_name(name) for name in names if not os.path.lexists(path.with_name(name)))
    os.rename(path, aside)
    return aside


def record_digest(record: Mapping[str, Any]) -> str:
    stated = {key: value for key, value in record.items() if key != "record_sha256"}
    return hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()


def _origin(folder: Path) -> str:
    """Who writes checkpoints where: user id, machine and folder."""
    return f"{os.getuid()}@{socket.gethostname()}:{folder.resolve()}"
