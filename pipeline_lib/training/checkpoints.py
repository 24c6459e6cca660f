"""Checkpoints: the whole state of training, written under a temporary name and renamed, so that a killed run finds whole ones only.

`step-00020/` holds `state/` (DeepSpeed: weights, optimiser, schedule), `model/` (a plain model folder), with LoRA
`adapter/` (what was trained alone; `model/` is merged), `random-<rank>.pt` and
`progress.json` (step, best checkpoint so far, data position, what the reward has learned, world size, and the digests that prove
it whole: `checkpoint_files`).
"""

import logging
import os
import random
import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline_lib.files.whole_files import flush
from pipeline_lib.training.checkpoint_files import (
    ADAPTER,
    CheckpointError,
    best_checkpoint,
    checkpoints_in,
    read_record,
    readable_records,
    seal,
    set_aside,
    step_name,
    verify,
)
from pipeline_lib.training.policy import Policy, load_plain
from pipeline_lib.training.ranks import barrier, first_problem, gather, rank, world_size
from pipeline_lib.training.resharding import universal_state

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far training is, and which checkpoint is the best by held-out accuracy at the target budget (None: not measured)."""

    step: int = 0
    best_step: int | None = None
    best_accuracy: float | None = None
    best_mean_tokens: float | None = None
    batches_drawn: int = 0  # the data position: batches of prompts drawn so far, one a step without dynamic sampling
    roll_backs: int = 0
    watch_since: int = 0  # the watch looks at later steps only: what came before was rolled back
    reward_state: dict[str, Any] = field(default_factory=dict)
    ended: bool = False  # an alarm stopped training here: it must not be resumed

    def with_checkpoint(self, step: int, accuracy: float | None, mean_tokens: float | None) -> "Progress":
        """Progress after a checkpoint at `step`: more accurate is better; at equal accuracy shorter is."""
        if accuracy is None or mean_tokens is None:
            return replace(self, step=step, best_step=step, best_accuracy=None, best_mean_tokens=None)
        beaten = (
            self.best_accuracy is not None
            and self.best_mean_tokens is not None
            and (self.best_accuracy, -self.best_mean_tokens) >= (accuracy, -mean_tokens)
        )
        if beaten:
            return replace(self, step=step)
        return replace(self, step=step, best_step=step, best_accuracy=accuracy, best_mean_tokens=mean_tokens)


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The checkpoints of one run in one folder: the newest `keep_last`, and the best."""

    folder: Path
    keep_last: int

    def save(
        self,
        policy: Policy,
        tokenizer: Any,
        progress: Progress,
        validation_accuracy: float | None,
        validation_mean_tokens: float | None = None,
        only_to_resume: bool = False,
    ) -> Path:
        """Write a checkpoint and remove those that are neither among the newest nor the best; all ranks must call.

        One that is `only_to_resume` from counts among neither, and goes when the next is there.
        """
        final = self.folder / step_name(progress.step)
        partial = self.folder / f".{final.name}.partial"
        if rank() == 0:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        barrier()
        policy.save_state(partial)
        policy.save_model(partial / "model", tokenizer)
        policy.save_adapter(partial / ADAPTER)
        torch.save(_random_state(), partial / f"random-{rank()}.pt")
        barrier()
        if rank() == 0:
            saved = {
                **asdict(progress),
                "world_size": world_size(),
                "validation_accuracy": validation_accuracy,
                "validation_mean_tokens": validation_mean_tokens,
                "weights_id": uuid.uuid4().hex,
                **({"only_to_resume": True} if only_to_resume else {}),
            }
            seal(partial, saved)
            self._remove(final)
            os.replace(partial, final)
            flush(self.folder)
            self._prune(progress)
        barrier()
        return final

    def restore(self, policy: Policy, step: int) -> Progress:
        """Load the checkpoint of a step that `choose_resume_step` found whole, whatever world size wrote it; 0 is the beginning."""
        if step == 0:
            return Progress()
        folder = self.folder / step_name(step)
        saved = read_record(folder)
        _load_state(policy, folder, saved)
        if "files" in saved:  # before there were digests, random states were pickled
            _set_random_state(load_plain(folder / f"random-{rank() % saved['world_size']}.pt"))
        logger.info("resumed from %s", folder)
        progress = Progress(**{each.name: saved[each.name] for each in fields(Progress) if each.name in saved})
        best = best_checkpoint(self.folder, saved)
        if best is None or best["step"] == progress.best_step:
            return progress
        accuracy, mean_tokens = best["validation_accuracy"], best.get("validation_mean_tokens")
        return replace(progress, best_step=best["step"], best_accuracy=accuracy, best_mean_tokens=mean_tokens)

    def load_best(self, policy: Policy, progress: Progress) -> dict[str, Any]:
        """Load weights and optimiser of the best checkpoint so far and return the reward's state in it; all ranks must call.

        Raises CheckpointError on every rank when it is gone or damaged.
        """
        assert progress.best_step is not None, "there is no checkpoint to roll back to"
        folder = self.folder / step_name(progress.best_step)
        problem = None
        if rank() == 0:
            try:
                verify(folder)
            except CheckpointError as error:
                set_aside(folder)
                problem = (
                    f"{error}: it is the best, and an alarm asks to go back to it; the same command again resumes without it"
                )
        if problem := first_problem(problem):
            raise CheckpointError(problem)
        saved = read_record(folder)
        _load_state(policy, folder, saved)
        state: dict[str, Any] = saved["reward_state"]
        return state

    def _prune(self, progress: Progress) -> None:
        there = checkpoints_in(self.folder)
        by_time = {step for step, record in readable_records(self.folder).items() if record.get("only_to_resume")}
        kept = {*[step for step in there if step not in by_time][-self.keep_last :], progress.best_step, progress.step}
        for step, path in there.items():
            if step not in kept:
                self._remove(path)

    def _remove(self, checkpoint: Path) -> None:
        """Delete a checkpoint under another name: what a kill leaves of it must not pass for a damaged one."""
        for left in self.folder.glob(".step-*.removed"):
            shutil.rmtree(left, ignore_errors=True)
        if checkpoint.exists():
            removed = checkpoint.with_name(f".{checkpoint.name}.removed")
            os.replace(checkpoint, removed)
            shutil.rmtree(removed, ignore_errors=True)


class CheckpointTimer:
    """Whether enough time has passed since the last checkpoint. Rank 0's clock decides: a rank that saved alone would wait for ever."""

    def __init__(self, every_minutes: float | None) -> None:
        self._every_minutes = every_minutes
        self.restart()

    def restart(self) -> None:
        """A checkpoint has been written."""
        self._started = time.monotonic()

    def is_due(self) -> bool:
        """Whether to write one; all ranks must ask."""
        return self._every_minutes is not None and gather(time.monotonic() - self._started >= 60 * self._every_minutes)[0]


def _load_state(policy: Policy, folder: Path, saved: Mapping[str, Any]) -> None:
    if saved["world_size"] == world_size():
        policy.load_state(folder)
        return
    logger.info("%s was written by %d processes and is loaded by %d", folder, saved["world_size"], world_size())
    with universal_state(folder) as universal:
        policy.load_state(universal, is_universal=True)


def _random_state() -> dict[str, Any]:
    """The state of every source of randomness as tensors and plain values, which load without running anything."""
    name, keys, *rest = np.random.get_state()
    numpy_state = [name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest]
    state = {"python": random.getstate(), "numpy": numpy_state, "torch": torch.get_rng_state()}
    return state | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def _set_random_state(state: dict[str, Any]) -> None:
    name, keys, *rest = state["numpy"]
    random.setstate(state["python"])
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])
