"""The layouts of a fleet on Ray, on two simulated nodes: colocated as the embedded worker, and weights by vLLM's own transfer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

from test_ray_fleet import STORE, Training, assert_same, configure, processes  # noqa: E402

from pipeline_lib.fleet.fleets import make_fleet  # noqa: E402
from pipeline_lib.records import FleetEvent  # noqa: E402
from pipeline_lib.tiny_world import BASE_FOLDER  # noqa: E402


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one CPU each."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": STORE}
    started = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    started.add_node(**node)
    yield started
    started.shutdown()


def trained(folder: Path, *changes: str) -> tuple[Training, list[FleetEvent]]:
    """The smoke run, cut short, on vLLM and two ranks, with a fleet of its own."""
    folder.mkdir()
    training, events = Training(folder, configure("generation.engine=vllm", *changes)), list[FleetEvent]()
    fleet = make_fleet(training.config, str(BASE_FOLDER), folder / "home", on_events=events.extend)
    try:
        fleet.run(training.profile())
        fleet.run(training.job())
    finally:
        fleet.close()
    return training, events


def test_colocated_on_two_nodes_is_the_embedded_run_to_the_byte(tmp_path: Path, cluster: Any) -> None:
    embedded, _ = trained(tmp_path / "embedded")
    on_ray = ("fleet.kind=ray", "fleet.layout=colocated", f"fleet.address={cluster.address}")
    colocated, events = trained(tmp_path / "colocated", *on_ray)
    assert_same(colocated, embedded)
    for what in ("rollouts", "profile"):
        assert colocated.rollouts(what) == embedded.rollouts(what)
    assert any(row["loss"] for row in colocated.steps.rows()), "a step had something to learn from"
    assert events == [] and processes("TrainerActor") == []
