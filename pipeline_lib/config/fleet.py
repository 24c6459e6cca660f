"""The processes that a run's engines and trainer live in: on this machine, or as actors of a Ray cluster."""

from typing import Literal

from pydantic import Field

from pipeline_lib.config.training import TrainConfig, WatchConfig
from pipeline_lib.section import PositiveFloat, PositiveInt, Section


class FleetConfig(Section):
    """Where engines and trainer run (docs/howto/ray.md). `compute.num_processes` counts the trainer's ranks."""

    kind: Literal["embedded", "ray"] = Field(
        "embedded",
        description="embedded: processes of this machine, each of which trains and has an engine; ray: actors of a cluster (needs "
        "laconic[ray]).",
    )
    layout: Literal["split", "colocated"] = Field(
        "split",
        description="ray only. split: generators have GPUs of their own, beside the trainer's; colocated: as embedded, each rank of "
        "the trainer has an engine on its GPU, and the two take turns.",
    )
    address: str = Field(
        "",
        description="ray only: HOST:PORT of the cluster's head; empty: a cluster on this machine that the run starts and ends.",
    )
    generators: PositiveInt = Field(
        1,
        description="split only: engines, each with generation.tensor_parallel GPUs of one node; those without room join later.",
    )
    gpus_per_node: PositiveInt = Field(
        8, description="ray only: GPUs of a node, by which `laconic check` says how many nodes a run takes."
    )
    deadline_seconds: PositiveFloat = Field(
        600.0, description="split only: a generator that has not answered, or not decoded, for so long is replaced."
    )

    @property
    def is_split(self) -> bool:
        """Whether engines have GPUs of their own."""
        return self.kind == "ray" and self.layout == "split"


def require_possible_ahead(fleet: FleetConfig, train: TrainConfig, watch: WatchConfig) -> None:
    """Raise ValueError where batches are to be generated ahead and cannot."""
    ahead = f"train.batches_ahead = {train.batches_ahead}"
    if train.batches_ahead and not fleet.is_split:
        raise ValueError(
            f"{ahead} needs fleet.kind = 'ray' and fleet.layout = 'split': else engine and trainer take turns on a GPU"
        )
    if train.batches_ahead and watch.rolls_back:
        raise ValueError(f"{ahead}: an alarm cannot roll back, since batches of the weights that are left would be ahead")
