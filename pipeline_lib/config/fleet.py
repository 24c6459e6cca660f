"""The processes that a run's engines and trainer live in: on this machine, or as actors of a Ray cluster."""

from typing import Literal

from pydantic import Field

from pipeline_lib.config.training import TrainConfig, WatchConfig
from pipeline_lib.section import PositiveFloat, PositiveInt, Section


class FleetConfig(Section):
    """Where engines and trainer run (docs/howto/ray.md). In the ray fleet `compute.num_processes` counts the trainer's ranks alone."""

    kind: Literal["embedded", "ray"] = Field(
        "embedded",
        description="embedded: each process of the worker trains and has an engine; ray: generators and trainer ranks are actors of "
        "their own on a cluster (needs laconic[ray]).",
    )
    address: str = Field(
        "",
        description="ray only: HOST:PORT of the cluster's head; empty: a cluster on this machine that the run starts and ends.",
    )
    generators: PositiveInt = Field(
        1,
        description="ray only: engines, each with generation.tensor_parallel GPUs of one node; those without room join later.",
    )
    deadline_seconds: PositiveFloat = Field(
        600.0, description="ray only: a generator that has not answered, or not decoded, for so long is replaced."
    )


def require_possible_ahead(fleet: FleetConfig, train: TrainConfig, watch: WatchConfig) -> None:
    """Raise ValueError where batches are to be generated ahead and cannot."""
    ahead = f"train.batches_ahead = {train.batches_ahead}"
    if train.batches_ahead and fleet.kind == "embedded":
        raise ValueError(f"{ahead} needs fleet.kind = 'ray': in the embedded one engine and trainer take turns")
    if train.batches_ahead and watch.rolls_back:
        raise ValueError(f"{ahead}: an alarm cannot roll back, since batches of the weights that are left would be ahead")
