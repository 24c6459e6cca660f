"""Checksums of an engine's tensors against those of the weights it was sent, and one engine that several ranks share."""

import threading
from collections import Counter

import pytest
import torch

from pipeline_lib.generation.checksums import checksum, digest_of, require_sent_weights
from pipeline_lib.generation.parity import ParityError, require_one_digest
from pipeline_lib.generation.protocol import EngineRanks, Sampling
from pipeline_lib.generation.shared_engine import SharedGenerator
from pipeline_lib.records import Completion

FUSED = {"qkv_proj": ["q_proj", "k_proj", "v_proj"]}
QUERY, KEY, VALUE, NORM, EXPERTS = (torch.randn(shape) for shape in ((8, 4), (2, 4), (2, 4), (4,), (3, 4, 6)))
WEIGHTS = {
    "model.layers.0.self_attn.q_proj.weight": QUERY,
    "model.layers.0.self_attn.k_proj.weight": KEY,
    "model.layers.0.self_attn.v_proj.weight": VALUE,
    "model.layers.0.input_layernorm.weight": NORM,
    "model.layers.0.mlp.experts.gate_up_proj": EXPERTS,
}


def sums(tensors: dict[str, torch.Tensor], dtype: torch.dtype = torch.float32) -> Counter[str]:
    return Counter({name: checksum(tensor, dtype) for name, tensor in tensors.items()})


def engine_tensors(query: torch.Tensor = QUERY, experts: torch.Tensor = EXPERTS) -> dict[str, torch.Tensor]:
    """The weights as an engine has them: fused, permuted, padded with zeros."""
    padded = torch.nn.functional.pad(experts.transpose(1, 2), (0, 5))
    return {
        "model.layers.0.self_attn.qkv_proj.weight": torch.cat([query, KEY, VALUE]),
        "model.layers.0.input_layernorm.weight": NORM,
        "model.layers.0.mlp.experts.routed_experts.w13_weight": padded,
    }


def test_what_is_laid_out_otherwise_has_the_same_checksum() -> None:
    require_sent_weights(sums(WEIGHTS), sums(engine_tensors()), "step 1", FUSED)
    renamed = {f"language_model.{name}": tensor for name, tensor in engine_tensors().items()}
    require_sent_weights(sums(WEIGHTS), sums(renamed), "step 1", FUSED)


@pytest.mark.parametrize("prefix", ["", "language_model."])
def test_a_tensor_with_other_values_is_named(prefix: str) -> None:
    stale = QUERY.clone()
    stale[3, 1] *= 1 + 2**-22  # the last bits of one value
    held = {prefix + name: tensor for name, tensor in engine_tensors(query=stale).items()}
    with pytest.raises(ParityError, match=r"weights of step 1.*qkv_proj"):
        require_sent_weights(sums(WEIGHTS), sums(held), "step 1", FUSED)


def test_two_errors_do_not_cancel() -> None:
    swapped = EXPERTS.clone()
    swapped[0, 0, 0], swapped[0, 0, 1] = EXPERTS[0, 0, 0] + 1, EXPERTS[0, 0, 1] - 1
    with pytest.raises(ParityError, match="experts"):
        require_sent_weights(sums(WEIGHTS), sums(engine_tensors(experts=swapped)), "step 1", FUSED)


def test_what_an_engine_has_packed_away_is_not_judged() -> None:
    held, unseen = engine_tensors(), "model.layers.0.self_attn.qkv_proj.weight"
    held[unseen] = torch.empty(0)
    require_sent_weights(sums(WEIGHTS), sums(held), "step 1", FUSED, {unseen})
    with pytest.raises(ParityError, match="qkv_proj"):
        require_sent_weights(sums(WEIGHTS), sums(held), "step 1", FUSED)


def test_weights_count_as_the_engine_s_format_has_them() -> None:
    rounded = {name: tensor.bfloat16() for name, tensor in engine_tensors().items()}
    require_sent_weights(sums(WEIGHTS, torch.bfloat16), sums(rounded, torch.bfloat16), "step 1", FUSED)
    assert sums(WEIGHTS, torch.bfloat16) != sums(WEIGHTS)


def test_engines_with_other_digests_are_refused() -> None:
    digests = [digest_of(sums(tensors)) for tensors in (engine_tensors(), engine_tensors(query=QUERY + 1))]
    require_one_digest([digests[0], digests[0]], "step 1")
    with pytest.raises(ParityError, match="step 1"):
        require_one_digest(digests, "step 1")


class CountingEngine:
    """Completions that name their request; what it was asked for, call by call."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[list[int]], list[int], int]] = []

    def generate(self, prompts, sampling, seeds, on_finished=None):  # type: ignore[no-untyped-def]
        self.calls.append((prompts, seeds, sampling.limit_tokens))
        return [Completion([*prompt, seed], [], "", "stop") for prompt, seed in zip(prompts, seeds, strict=True)]


def test_ranks_of_one_engine_run_the_same_requests_and_get_their_own() -> None:
    """The second rank has fewer calls, one of them of other limits; it drains until the first has had its own."""
    barrier, values = threading.Barrier(2), [None, None]

    def gather_as(rank: int):  # type: ignore[no-untyped-def]
        def gather(value: object) -> list[object]:
            values[rank] = value  # type: ignore[call-overload]
            barrier.wait(10)
            every = list(values)
            barrier.wait(10)
            return every

        return gather

    engines = [CountingEngine(), CountingEngine()]
    shared = [SharedGenerator(engine, EngineRanks(rank, gather_as(rank))) for rank, engine in enumerate(engines)]  # type: ignore[arg-type]
    wanted = [[([[1], [2]], 8), ([[3]], 8), ([[4]], 8)], [([[5]], 16)]]
    got: list[list[list[int]]] = [[], []]

    def act(rank: int) -> None:
        for prompts, limit in wanted[rank]:
            done = shared[rank].generate(prompts, Sampling(limit), [100 + prompt[0] for prompt in prompts])
            got[rank] += [completion.token_ids for completion in done]
        shared[rank].drain()

    threads = [threading.Thread(target=act, args=(rank,), daemon=True) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert got == [[[1, 101], [2, 102], [3, 103], [4, 104]], [[5, 105]]]
    assert engines[0].calls == engines[1].calls
    assert [limit for _, _, limit in engines[0].calls] == [8, 16, 8, 8]
