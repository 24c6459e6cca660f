"""A training state for another number of ranks than wrote it: DeepSpeed's universal checkpoint, made while it is loaded."""

import os
import pickle
import re
import shutil
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deepspeed.checkpoint import ds_to_universal

from pipeline_lib.training.ranks import barrier, rank

ONLY_PLAIN = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


@contextmanager
def universal_state(checkpoint: Path) -> Iterator[Path]:
    """A folder that holds the `state` of a checkpoint cut for no number of ranks, until the block ends; all ranks must enter.

    It lies beside the checkpoint and takes the room of three float32 copies of the weights, six while it is made.
    """
    folder = checkpoint.with_name(f".{checkpoint.name}.universal.tmp")
    try:
        if rank() == 0:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            with plain_path(checkpoint) as source, plain_path(folder) as target:
                _convert(source, target)
        barrier()
        yield folder
        barrier()
    finally:
        if rank() == 0:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def plain_path(folder: Path) -> Iterator[Path]:
    """A path to a folder whose characters stand for themselves: DeepSpeed takes paths for patterns of files."""
    if re.fullmatch(r"[\w/. -]*", str(folder)):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="laconic-") as place:
        link = Path(place) / "checkpoint"
        link.symlink_to(folder.resolve())
        yield link


def _convert(checkpoint: Path, folder: Path) -> None:
    with only_plain_values():
        # One worker of each kind: others would be forks of a process that holds an engine and its threads.
        ds_to_universal.main(
            Namespace(
                input_folder=str(checkpoint / "state"),
                output_folder=str(folder / "state"),
                num_extract_workers=1,
                num_merge_workers=1,
                keep_temp_folder=False,
                inject_missing_state=True,  # the layout of layers that are split over ranks, of which there are none
                strict=True,
            )
        )


@contextmanager
def loading_universal(engine: Any) -> Iterator[None]:
    """A DeepSpeed engine takes what it loads for a universal checkpoint."""
    engine._config.load_universal_checkpoint = True
    try:
        with only_plain_values():
            yield
    finally:
        engine._config.load_universal_checkpoint = False


@contextmanager
def only_plain_values() -> Iterator[None]:
    """DeepSpeed asks torch to load any pickle; in this block torch loads none. Raises ValueError for a file that needs it."""
    os.environ[ONLY_PLAIN] = "1"
    try:
        yield
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"the state of a checkpoint holds more than tensors and plain values, and is not loaded: {error}"
        ) from error
    finally:
        del os.environ[ONLY_PLAIN]
