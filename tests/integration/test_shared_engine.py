"""One vLLM engine over two ranks, with a mixture of experts: weights in parts, reloaded, proven, and requests of both ranks."""

import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from gaps import measure_logprob_gap
from loopback import free_port, rank_variables, run_ranks
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3MoeConfig

from pipeline_lib.config import GenerationConfig
from pipeline_lib.generation.checksums import checksum
from pipeline_lib.generation.engines import make_generator
from pipeline_lib.generation.parity import ANY_PROMPTS, ParityError, folder_scores
from pipeline_lib.generation.protocol import EngineRanks, Generator, Sampling
from pipeline_lib.generation.vllm_engine import configure_environment
from pipeline_lib.tiny_world import BASE_FOLDER
from pipeline_lib.training.ranks import generation_group, init_distributed

CONFIG = GenerationConfig(dtype="float32", max_prompt_tokens=64, kv_cache_gib=0.25, tensor_parallel=2)
# Heads of keys and values are fewer than ranks, and a rank's part of an expert is no multiple of the CPU kernel's 32: it is padded.
SHAPE = {
    **{"vocab_size": 384, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 1},
    **{"head_dim": 32, "num_experts": 4, "num_experts_per_tok": 2, "norm_topk_prob": True, "initializer_range": 0.2},
    **{"moe_intermediate_size": 96, "max_position_embeddings": 512, "tie_word_embeddings": False},
}


def gap(engine: Generator, folder: Path) -> float:
    return measure_logprob_gap(engine, folder_scores(str(folder), None, "float32"), ANY_PROMPTS, temperature=1.0)


def told_of_stale_experts(engine: Generator, load: Callable[[], str]) -> str:
    """What is said of a model whose experts are half as large as they should be in the kernel's packed copy, when it is loaded."""

    def multiply(model: Any, factor: float) -> None:
        for layer in model.model.layers:
            layer.mlp.experts.routed_experts.w2_weight.data.mul_(factor)

    vllm: Any = engine._engine._llm  # type: ignore[attr-defined]
    vllm.apply_model(partial(multiply, factor=0.5))
    try:
        load()
    except ParityError as error:
        return str(error)
    finally:
        vllm.apply_model(partial(multiply, factor=2.0))
    return ""


def sums_of_parts(ranks: EngineRanks) -> list[bool]:
    """Whether the checksums of what each rank counts add up to those of whole layers, for every way of cutting one."""
    from torch import nn
    from vllm.config import VllmConfig, set_current_vllm_config
    from vllm.model_executor.layers.linear import QKVParallelLinear, ReplicatedLinear, RowParallelLinear
    from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding

    from pipeline_lib.generation.vllm_weights import _own_tensors

    generator = torch.Generator().manual_seed(0)
    q, k, v, row, bias, same = (torch.randn(size, 8, generator=generator) for size in (32, 8, 8, 4, 1, 4))
    words = torch.randn(100, 8, generator=generator)
    with set_current_vllm_config(VllmConfig()):
        qkv = QKVParallelLinear(8, 8, 4, 1, bias=False, params_dtype=torch.float32)
        layers = nn.ModuleDict(
            {
                "qkv": qkv,
                "row": RowParallelLinear(8, 4, bias=True, params_dtype=torch.float32),
                "same": ReplicatedLinear(8, 4, bias=False, params_dtype=torch.float32),
                "words": VocabParallelEmbedding(100, 8, params_dtype=torch.float32),
                "norm": nn.LayerNorm(8, elementwise_affine=True, bias=False),
            }
        )
    for part, shard in ((q, "q"), (k, "k"), (v, "v")):
        qkv.weight.weight_loader(qkv.weight, part, shard)
    whole = {"qkv.weight": torch.cat([q, k, v]), "row.weight": row, "row.bias": bias[0, :4], "same.weight": same}
    whole |= {"words.weight": words, "norm.weight": torch.ones(8)}
    for name in ("row.weight", "row.bias", "same.weight", "words.weight"):
        parameter: Any = layers.get_parameter(name)
        parameter.weight_loader(parameter, whole[name])
    own = {name: checksum(tensor, torch.float32) for name, tensor in _own_tensors(layers)}
    every = ranks.gather(own)
    found = {name: sum(each.get(name, 0) for each in every) % 2**64 for name in whole}
    return [found[name] == checksum(tensor, torch.float32) for name, tensor in whole.items()]


def act_as_rank(rank: int, port: int, folder: str) -> None:
    os.environ.update(rank_variables(rank, 2, port))
    init_distributed()
    first, second = (Path(folder) / name for name in ("first", "second"))
    ranks = generation_group(2)
    engine = make_generator(str(first), CONFIG, 256, world_size=2, ranks=ranks)
    stale = told_of_stale_experts(engine, lambda: engine.load_folder(first))
    seen: dict[str, Any] = {"stale": [stale], "digests": [engine.load_folder(first)]}
    seen["gaps"] = [gap(engine, first), gap(engine, second)]
    seen["digests"].append(engine.load_folder(second))
    seen["gaps"] += [gap(engine, second), gap(engine, first)]
    model = AutoModelForCausalLM.from_pretrained(first, dtype=torch.float32)
    seen["digests"].append(engine.load_weights(model.named_parameters(), "step 1"))
    seen["gaps"] += [gap(engine, first), gap(engine, second)]
    # The first rank asks three times, the second once: it takes part in the others while it drains.
    asked = [[[11, 7 + rank, call]] * 2 for call in range(3 - 2 * rank)]
    done = [engine.generate(prompts, Sampling(16), [10 * call, 10 * call + 1]) for call, prompts in enumerate(asked)]
    engine.drain()
    seen["done"] = [[(each.token_ids, each.logprobs) for each in completions] for completions in done]
    alone = engine.generate([asked[0][1]], Sampling(16), [1])[0]
    seen["alone"] = (alone.token_ids, alone.logprobs)
    others = [(name, weight) for name, weight in model.named_parameters() if "experts" not in name]
    seen["stale"].append(told_of_stale_experts(engine, lambda: engine.load_weights(others, "some weights")))
    seen["parts"] = sums_of_parts(ranks)
    torch.save(seen, f"{folder}/{rank}.pt")
    dist.barrier()
    os._exit(0)  # engines leave threads behind


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("mixtures")
    for seed, name in enumerate(("first", "second")):
        torch.manual_seed(seed)
        AutoModelForCausalLM.from_config(Qwen3MoeConfig(**SHAPE)).float().save_pretrained(folder / name)
        AutoTokenizer.from_pretrained(BASE_FOLDER).save_pretrained(folder / name)
    configure_environment()  # before vLLM is imported
    run_ranks(act_as_rank, free_port(), str(folder), imported="vllm.entrypoints.llm")
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


def test_a_mixture_in_parts_generates_with_the_weights_it_was_sent(two_ranks: list[dict[str, Any]]) -> None:
    """At the start, after a folder and after a trainer's weights; vLLM's own reload leaves the CPU's packed experts off by nats."""
    for seen in two_ranks:
        own, other = seen["gaps"][::2], seen["gaps"][1::2]
        assert max(own) < 1e-4
        assert min(other) > 0.1
        assert seen["digests"][0] == seen["digests"][2] != seen["digests"][1]
    assert two_ranks[0]["digests"] == two_ranks[1]["digests"]


def test_stale_experts_are_named_at_the_start_and_after_a_sync(two_ranks: list[dict[str, Any]]) -> None:
    for seen in two_ranks:
        for told, version in zip(seen["stale"], (r"\S+/first", "some weights"), strict=True):
            assert re.match(rf"the engine does not hold the weights of {version}: .*: model.layers.0.mlp.experts", told)


def test_each_rank_gets_what_it_asked_for(two_ranks: list[dict[str, Any]]) -> None:
    first, second = two_ranks
    assert [len(completions) for completions in first["done"] + second["done"]] == [2, 2, 2, 2]
    for seen in two_ranks:
        tokens, logprobs = seen["done"][0][1]
        assert seen["alone"][0] == tokens
        assert seen["alone"][1] == pytest.approx(logprobs, abs=1e-5)
    assert first["done"][0] != second["done"][0]


def test_parts_of_every_kind_of_layer_add_up_to_the_whole(two_ranks: list[dict[str, Any]]) -> None:
    assert [seen["parts"] for seen in two_ranks] == [[True] * 6] * 2
