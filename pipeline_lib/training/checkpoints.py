"""Checkpoints: the whole state of training, written under a temporary name and renamed, so that a killed run finds whole ones only.

`step-00020/` holds `state/` (DeepSpeed: weights, optimiser, schedule), `model/` (a plain model folder), `random-<rank>.pt` and
`progress.json` (step, best checkpoint so far, data position, what the reward has learned, world size).
"""

import logging
import os
import random
import shutil
import uuid
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from pipeline_lib.training.policy import Policy
from pipeline_lib.worker.jobs import read_json, write_json

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
    ended: bool = False  # an alarm stopped training here: it must not be gone on with

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


class Checkpoints:
    """The checkpoints of one run in one folder."""

    def __init__(self, folder: Path, keep_last: int) -> None:
        self._folder = folder
        self._keep_last = keep_last
        self._rank, self._world_size = dist.get_rank(), dist.get_world_size()

    def save(self, policy: Policy, tokenizer: Any, progress: Progress, validation_accuracy: float | None) -> Path:
        """Write a checkpoint and remove those that are neither among the newest nor the best; all ranks must call."""
        final = self._folder / step_name(progress.step)
        partial = self._folder / f".{final.name}.partial"
        if self._rank == 0:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        dist.barrier()
        policy.save_state(partial)
        policy.save_model(partial / "model", tokenizer)
        torch.save(_random_state(), partial / f"random-{self._rank}.pt")
        dist.barrier()
        if self._rank == 0:
            saved = {
                **asdict(progress),
                "world_size": self._world_size,
                "validation_accuracy": validation_accuracy,
                "weights_id": uuid.uuid4().hex,
            }
            write_json(partial / "progress.json", saved)
            shutil.rmtree(final, ignore_errors=True)
            os.replace(partial, final)
            self._prune(progress)
        dist.barrier()
        return final

    def restore(self, policy: Policy) -> Progress:
        """Load the newest whole checkpoint; without one, step 0. Raises ValueError when it was written by another world size."""
        steps = saved_steps(self._folder)
        if not steps:
            return Progress()
        folder = self._folder / step_name(steps[-1])
        saved = read_json(folder / "progress.json")
        if saved.pop("world_size") != self._world_size:
            raise ValueError(
                f"{folder} was written by another number of processes than train.num_processes = {self._world_size}: "
                "set it back, or start again with --force"
            )
        for key in ("validation_accuracy", "weights_id"):
            saved.pop(key)
        policy.load_state(folder)
        _set_random_state(torch.load(folder / f"random-{self._rank}.pt", weights_only=False))
        logger.info("resumed from %s", folder)
        return Progress(**saved)

    def load_best(self, policy: Policy, progress: Progress) -> dict[str, Any]:
        """Load weights and optimiser of the best checkpoint so far and return the reward's state in it."""
        assert progress.best_step is not None, "there is no checkpoint to roll back to"
        folder = self._folder / step_name(progress.best_step)
        policy.load_state(folder)
        state: dict[str, Any] = read_json(folder / "progress.json")["reward_state"]
        return state

    def _prune(self, progress: Progress) -> None:
        steps = saved_steps(self._folder)
        kept = set(steps[-self._keep_last :]) | {progress.best_step}
        for step in steps:
            if step not in kept:
                shutil.rmtree(self._folder / step_name(step))


def step_name(step: int) -> str:
    """Folder name of a checkpoint."""
    return f"step-{step:05d}"


def saved_steps(folder: Path) -> list[int]:
    """Steps with a whole checkpoint, rising."""
    return sorted(int(path.parent.name.removeprefix("step-")) for path in folder.glob("step-*/progress.json"))


def _random_state() -> dict[str, Any]:
    return {"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state()}


def _set_random_state(state: dict[str, Any]) -> None:
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
