"""How a fleet's processes are laid over nodes: plain arithmetic, which the placement on Ray and `laconic check` share."""

import math
from collections.abc import Mapping

from pipeline_lib.config import RunConfig
from pipeline_lib.fleet.dispatcher import FleetError


def trainer_bundles(config: RunConfig) -> list[int]:
    """Trainer ranks, a GPU each, that must be on one node with each other: those that share an engine, else each alone."""
    size = 1 if config.fleet.is_split else config.generation.tensor_parallel
    return [size] * (config.compute.num_processes // size)


def num_processes(config: RunConfig) -> int:
    """GPUs that a run takes: of all trainer ranks, and of all generators where these are apart."""
    apart = config.fleet.generators * config.generation.tensor_parallel if config.fleet.is_split else 0
    return config.compute.num_processes + apart


def of_a_process(config: RunConfig, has_gpus: bool) -> dict[str, int]:
    """What a trainer rank, or a generator for each of its GPUs, takes of a node: a GPU where there are any, CPUs for its threads."""
    return {"CPU": config.compute.num_threads} | ({"GPU": 1} if has_gpus else {})


def require_room(config: RunConfig, resources: Mapping[str, float]) -> None:
    """Raise FleetError where a cluster of such resources is too small for the trainer, and one generator where these are apart."""
    ranks, parallel = config.compute.num_processes, config.generation.tensor_parallel * config.fleet.is_split
    for kind, each in of_a_process(config, bool(resources.get("GPU"))).items():
        if resources.get(kind, 0) < (needed := each * (ranks + parallel)):
            beside = f" beside a generator (generation.tensor_parallel = {parallel})" if parallel else ""
            threads = f" with compute.num_threads = {each} each" if kind == "CPU" and each > 1 else ""
            raise FleetError(
                f"the cluster has {resources.get(kind, 0):g} {kind}s, and {ranks} trainer ranks (compute.num_processes){beside}"
                f"{threads} need {needed}"
            )


def num_nodes(config: RunConfig) -> int:
    """Nodes of `fleet.gpus_per_node` GPUs that this takes: trainer ranks fill nodes first, engines come where there is room."""
    gpus, parallel = config.fleet.gpus_per_node, config.generation.tensor_parallel
    bundles = trainer_bundles(config)
    of_a_node = gpus // bundles[0]
    nodes = math.ceil(len(bundles) / of_a_node)
    if not config.fleet.is_split:
        return nodes
    beside = (gpus - (len(bundles) - 1) % of_a_node - 1) // parallel  # engines on the trainer's last node
    return nodes + math.ceil(max(config.fleet.generators - beside, 0) / (gpus // parallel))


def layout_words(config: RunConfig) -> str:
    """Such as '2 nodes of 8 GPUs: 12 for training, 2 generators of 2'."""
    fleet, number, parallel = config.fleet, config.compute.num_processes, config.generation.tensor_parallel
    nodes = num_nodes(config)
    words = f"{nodes} node{'s' if nodes > 1 else ''} of {fleet.gpus_per_node} GPUs: {number} for training"
    if fleet.is_split:
        return f"{words}, {fleet.generators} generator{'s' if fleet.generators > 1 else ''} of {parallel}"
    return f"{words} and, in turns, {number // parallel} engines of {parallel}"
