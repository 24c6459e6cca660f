"""How a fleet is laid over nodes: what is on one node, how many nodes it takes, and what is refused."""

import socket
from pathlib import Path

import pytest

from pipeline_lib.config import RunConfig, load_config
from pipeline_lib.fleet.actors import Place, launcher_environment
from pipeline_lib.fleet.dispatcher import FleetError
from pipeline_lib.fleet.fleets import require_answer
from pipeline_lib.fleet.placement import layout_words, num_nodes, num_processes, require_room, trainer_bundles
from pipeline_lib.memory import H100, architecture_of, memory_plan


def configure(configs: Path, ranks: int, layout: str, generators: int = 1, parallel: int = 1, gpus: int = 8) -> RunConfig:
    settings = {
        "fleet.kind": "ray",
        "fleet.layout": layout,
        "fleet.generators": generators,
        "fleet.gpus_per_node": gpus,
        "compute.num_processes": ranks,
        "generation.tensor_parallel": parallel,
        "train.prompts_per_step": ranks,
    }
    return load_config(configs / "smoke.toml", [f"{key}={value}" for key, value in settings.items()])


def placed_on(ranks: int, generators: int, parallel: int, gpus: int) -> int:
    """Nodes after the ranks have been laid one by one, then the engines, each on the first node that has room."""
    nodes: list[int] = []
    for size in [1] * ranks + [parallel] * generators:
        found = next((place for place, left in enumerate(nodes) if left >= size), None)
        if found is None:
            nodes.append(gpus)
            found = len(nodes) - 1
        nodes[found] -= size
    return len(nodes)


def test_a_split_fleet_takes_the_nodes_on_which_it_has_room(configs: Path) -> None:
    assert layout_words(configure(configs, 12, "split", 2, 2)) == "2 nodes of 8 GPUs: 12 for training, 2 generators of 2"
    assert layout_words(configure(configs, 1, "split")) == "1 node of 8 GPUs: 1 for training, 1 generator of 1"
    for ranks in (1, 4, 7, 8, 9, 16):
        for generators in (1, 2, 4, 9):
            for parallel, gpus in ((1, 8), (2, 8), (3, 8), (4, 4), (8, 8)):
                config = configure(configs, ranks, "split", generators, parallel, gpus)
                assert num_nodes(config) == placed_on(ranks, generators, parallel, gpus), (ranks, generators, parallel, gpus)
                assert num_processes(config) == ranks + generators * parallel


def test_ranks_that_share_an_engine_are_on_one_node(configs: Path) -> None:
    shared = configure(configs, 12, "colocated", parallel=3)
    assert trainer_bundles(shared) == [3, 3, 3, 3] and num_processes(shared) == 12
    assert layout_words(shared) == "2 nodes of 8 GPUs: 12 for training and, in turns, 4 engines of 3"
    assert num_nodes(configure(configs, 12, "colocated", parallel=3, gpus=4)) == 4, "a GPU of each is left over"
    assert trainer_bundles(configure(configs, 3, "split", parallel=2)) == [1, 1, 1]


def test_layouts_that_make_no_sense_are_refused(configs: Path) -> None:
    with pytest.raises(ValueError, match=r"tensor_parallel = 2 does not divide compute.num_processes = 3"):
        configure(configs, 3, "colocated", parallel=2)
    with pytest.raises(ValueError, match=r"tensor_parallel = 4 is above fleet.gpus_per_node = 2: an engine is on one node"):
        configure(configs, 4, "split", parallel=4, gpus=2)
    ahead = ["train.batches_ahead=1", "train.engine_ratio_cap=2.0", "fleet.kind=ray", "fleet.layout=colocated"]
    with pytest.raises(ValueError, match=r"needs .* fleet.layout = 'split': else engine and trainer take turns on a GPU"):
        load_config(configs / "smoke.toml", ahead)


def test_a_cluster_that_is_too_small_is_named_with_what_is_needed(configs: Path) -> None:
    split, colocated = configure(configs, 4, "split", 3, 2), configure(configs, 4, "colocated", parallel=2)
    require_room(split, {"CPU": 6})
    require_room(colocated, {"CPU": 4, "GPU": 4})
    with pytest.raises(FleetError, match=r"has 5 CPUs, and 4 trainer ranks .* beside a generator .*= 2\) need 6"):
        require_room(split, {"CPU": 5})
    with pytest.raises(FleetError, match=r"has 3 GPUs, and 4 trainer ranks \(compute.num_processes\) need 4"):
        require_room(colocated, {"CPU": 64, "GPU": 3})
    threads = load_config(configs / "smoke.toml", ["fleet.kind=ray", "compute.num_threads=4"])
    with pytest.raises(FleetError, match=r"has 7 CPUs, .* with compute.num_threads = 4 each need 8"):
        require_room(threads, {"CPU": 7})


def test_ranks_are_told_what_a_launcher_would_tell_them() -> None:
    places = [Place("10.0.0.1", 7001, "5"), Place("10.0.0.2", 7002, "0"), Place("10.0.0.1", 7003, "2")]
    told = launcher_environment(2, places)
    assert told == {
        "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "7001", "RANK": "2", "LOCAL_RANK": "1", "WORLD_SIZE": "3",
        "CUDA_VISIBLE_DEVICES": "5,2",
    }  # fmt: skip
    assert launcher_environment(1, places)["LOCAL_RANK"] == "0"
    assert "CUDA_VISIBLE_DEVICES" not in launcher_environment(0, [Place("10.0.0.1", 7001, None)])


@pytest.mark.parametrize("name", ["qwen3-30b-a3b-instruct", "qwen3-30b-a3b-thinking"])
def test_the_largest_models_fit_the_nodes_that_their_files_name(configs: Path, name: str) -> None:
    path = configs / f"{name}.toml"
    config = load_config(path)
    model = architecture_of(config.base_model)
    assert model is not None
    assert layout_words(config) == "2 nodes of 8 GPUs: 16 for training and, in turns, 8 engines of 2"
    header = path.read_text(encoding="utf-8")
    assert "Made for 16 GPUs of 80 GB: two nodes of 8 with 300 GiB of CPU memory each" in header
    assert memory_plan(config, model, H100).host_gib / 2 < 300
    on_one = ["fleet.kind=embedded", "compute.num_processes=8"]
    assert " ".join(f"--set {change}" for change in on_one) in header
    apart = ["fleet.layout=split", "compute.num_processes=8", "fleet.generators=4"]
    for changes in ([], on_one, apart):
        changed = load_config(path, changes)
        plan = memory_plan(changed, model, H100)
        assert plan.problems == [] and plan.cache_sequences >= 8
        assert changed.run_id == config.run_id
    assert num_nodes(load_config(path, apart)) == 2


def test_an_address_at_which_nothing_listens_is_named_at_once() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(
            ValueError, match=f"^no cluster answers at fleet.address = '{address}' .*refused.*: 'ray start --head' starts"
        ):
            require_answer(address)
        listening.listen()
        require_answer(address)
    for of_ray in ("", "auto", "ray://127.0.0.1:1", "nonsense"):
        require_answer(of_ray)
    with pytest.raises(ValueError, match="no cluster answers"):
        require_answer("127.0.0.1:99999")
