"""Which cards of the machine a worker takes, and whether a run and its control can have some each. Imports no torch."""

import os
from collections.abc import Sequence
from pathlib import Path

from pipeline_lib.config import RunConfig

VISIBLE = "CUDA_VISIBLE_DEVICES"


def visible_devices() -> list[str]:
    """The cards that a process started here would see, in the words of CUDA_VISIBLE_DEVICES; empty on a machine without any."""
    there = sorted(Path("/dev").glob("nvidia[0-9]*"))
    listed = os.environ.get(VISIBLE)
    if listed is None or not there:
        return [str(number) for number in range(len(there))]
    return [each.strip() for each in listed.split(",") if each.strip() not in ("", "-1")]


def runs_side_by_side(config: RunConfig) -> bool:
    """Whether a run and its control train at the same time: wanted, and no card is shared by that but those that are named.

    Without a card, several processes each are enough to keep a machine busy. A fleet of actors has the cluster for itself.
    """
    if config.fleet.kind == "ray":
        return False
    if config.control.devices:
        return config.control.side_by_side
    return config.control.side_by_side and config.compute.num_processes == 1 and not visible_devices()


def device_environment(devices: Sequence[int]) -> dict[str, str]:
    """What a worker is told of the cards that it is given by their numbers among the visible ones; nothing where it is given none.

    Raises ValueError when one is not there.
    """
    if not devices or not (visible := visible_devices()):  # a CPU needs no cards
        return {}
    if max(devices) >= len(visible):
        raise ValueError(f"control.devices = {list(devices)}: the cards here are 0 to {len(visible) - 1}")
    return {VISIBLE: ",".join(visible[number] for number in devices)}
