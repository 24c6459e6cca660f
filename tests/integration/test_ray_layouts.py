"""The layouts of a fleet on Ray, on two simulated nodes: colocated as the embedded worker, and weights by vLLM's own transfer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

from gaps import measure_logprob_gap  # noqa: E402
from test_ray_fleet import STORE, Training, assert_same, configure, processes  # noqa: E402
from test_vllm_engine import CONFIG, load_trainer, prompts, scorer, tokenizer  # noqa: E402, F401

from pipeline_lib.fleet.fleets import make_fleet  # noqa: E402
from pipeline_lib.generation.checksums import Checksums, counting  # noqa: E402
from pipeline_lib.generation.packed import pack, unpack  # noqa: E402
from pipeline_lib.generation.parity import ParityError  # noqa: E402
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


def test_an_engine_apart_takes_weights_by_vllm_s_transfer_and_proves_them(prompts: list[list[int]]) -> None:  # noqa: F811
    from pipeline_lib.generation.vllm_engine import VllmGenerator
    from pipeline_lib.generation.vllm_transfer import received

    engine = VllmGenerator(str(BASE_FOLDER), CONFIG, 256, is_apart=True)
    base = engine.load_folder(BASE_FOLDER)
    model = load_trainer()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    packed, sent = pack(model.named_parameters()), Checksums()
    digest = engine.receive(packed, "step 1")
    assert digest != base and engine._llm.get_weight_version() == "step 1"
    assert measure_logprob_gap(engine, scorer(model), prompts[:8], temperature=1.0) < 1e-4, "its tied head is packed again"
    assert engine.receive(pack(load_trainer().named_parameters()), "step 2") == base
    with pytest.raises(ParityError, match="does not hold the weights of step 3"):
        engine.receive(packed[:-1], "step 3")
    # What a trainer says of weights that come from its GPUs is what counts, whatever has arrived.
    for _ in counting(unpack(packed), torch.float32, sent):
        pass
    assert engine.receive(packed, "step 4") == digest
    assert engine._proven("step 4", received, sent) == digest
    sent["model.norm.weight"] += 1
    with pytest.raises(ParityError, match=r"1 of its \d+ tensors have other values: model.norm.weight"):
        engine._proven("step 4", received, sent)
    engine.close()


def test_a_sender_s_source_tells_what_comes_and_comes_again() -> None:
    from pipeline_lib.fleet.gpu_to_gpu import Source

    weights = dict(load_trainer().named_parameters())
    source = Source(weights.items(), torch.float32)
    assert [(each.name, each.dtype, each.shape) for each in source.metadata()] == [
        (name, torch.float32, tuple(weight.shape)) for name, weight in weights.items()
    ]
    assert source.sent.keys() == weights.keys() and dict(source).keys() == dict(source).keys() == weights.keys()
