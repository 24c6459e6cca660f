"""The vLLM engine on the shipped base: exact log-probs, weights replaced in place, limits, seeds, and the cut of a budget sweep."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from gaps import measure_logprob_gap
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline_lib.config import GenerationConfig, PromptSource
from pipeline_lib.evaluation.budget_sweep import bootstrap_intervals
from pipeline_lib.generation import vllm_weights
from pipeline_lib.generation.engines import make_generator
from pipeline_lib.generation.parity import (
    ParityError,
    logprob_differences,
    require_folder_parity,
    require_parity,
    require_small_divergence,
)
from pipeline_lib.generation.protocol import Generator, Sampling, rollout_seed
from pipeline_lib.generation.sampling import Sample, sample_and_judge
from pipeline_lib.generation.vllm_engine import AT_START, VllmGenerator
from pipeline_lib.prompts import load_prompts
from pipeline_lib.prompts.rendering import render_prompt
from pipeline_lib.records import Completion
from pipeline_lib.tiny_world import BASE_FOLDER

SOURCE = PromptSource(
    name="tiny-sum",
    kind="tiny",
    split="test",
    num_prompts=40,
    grader="exact",
    domain="tiny",
    min_operations=1,
    max_operations=5,
)
CONFIG = GenerationConfig(dtype="float32", max_prompt_tokens=64, kv_cache_gib=0.25)


@pytest.fixture(scope="module")
def engine() -> Iterator[Generator]:
    generator = make_generator(str(BASE_FOLDER), CONFIG, max_model_tokens=256)
    yield generator
    generator.close()


@pytest.fixture(scope="module")
def tokenizer() -> object:
    return AutoTokenizer.from_pretrained(BASE_FOLDER)


@pytest.fixture(scope="module")
def prompts(tokenizer: object) -> list[list[int]]:
    return [render_prompt(tokenizer, SOURCE, prompt.problem) for prompt in load_prompts(SOURCE)]  # type: ignore[arg-type]


def load_trainer() -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(BASE_FOLDER, dtype=torch.float32).eval()


def scorer(model: torch.nn.Module):
    """An independent computation of response log-probs: one sequence at a time, the whole vocabulary, no padding."""

    @torch.no_grad()
    def score(prompt_ids: list[list[int]], response_ids: list[list[int]]) -> list[list[float]]:
        rows = []
        for prompt, response in zip(prompt_ids, response_ids, strict=True):
            logits = model(torch.tensor([prompt + response])).logits[0]
            logprobs = torch.log_softmax(logits.double(), dim=-1)
            rows.append([float(logprobs[len(prompt) - 1 + i, token]) for i, token in enumerate(response)])
        return rows

    return score


def test_sampled_logprobs_are_the_model_s(engine: Generator, prompts: list[list[int]]) -> None:
    gap = measure_logprob_gap(engine, scorer(load_trainer()), prompts[:8], temperature=1.0)
    assert 0 < gap < 1e-4


def test_reloaded_weights_are_the_ones_that_generate(engine: Generator, prompts: list[list[int]]) -> None:
    """Tied embeddings: without packing the output layer again, generation stays on the old one and the gap is large."""
    model = load_trainer()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    digest = engine.load_weights(model.named_parameters(), "changed")
    try:
        assert measure_logprob_gap(engine, scorer(model), prompts[:8], temperature=1.0) < 1e-4
        stale = measure_logprob_gap(engine, scorer(load_trainer()), prompts[:8], temperature=1.0)
        assert stale > 1e-2
        differences = logprob_differences(engine, scorer(load_trainer()), prompts[:8], temperature=1.0)
        with pytest.raises(ParityError, match=r"step 7: .* does not generate with the trained weights"):
            require_parity(differences, CONFIG, True, "after the weight sync of step 7")
        with pytest.raises(ParityError, match="k3"):
            require_folder_parity(
                engine, BASE_FOLDER, None, CONFIG.model_copy(update={"dtype": "bfloat16", "kl_tolerance": 1e-6})
            )
    finally:
        assert engine.load_folder(BASE_FOLDER) != digest
    assert measure_logprob_gap(engine, scorer(load_trainer()), prompts[:8], temperature=1.0) < 1e-4


def leaving_stale(
    weights: Iterable[tuple[str, torch.Tensor]], held: torch.nn.Module, name: str
) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights, one of which an engine that has taken all of them has back as it was."""
    kept = held.get_parameter(name).detach().clone()

    def then_restore() -> Iterator[tuple[str, torch.Tensor]]:
        yield from weights
        held.get_parameter(name).data.copy_(kept)

    return then_restore()


def test_one_tensor_left_stale_is_found_by_its_checksum(engine: Generator) -> None:
    model, name = load_trainer(), "model.layers.1.input_layernorm.weight"
    with torch.no_grad():
        model.get_parameter(name).mul_(1.0 + 1e-6)
    portable = make_generator(str(BASE_FOLDER), CONFIG.model_copy(update={"engine": "transformers"}), 256)
    [inside] = engine._llm.apply_model(lambda model: model)  # type: ignore[attr-defined]
    try:
        for one, held in ((engine, inside), (portable, portable._model)):  # type: ignore[attr-defined]
            with pytest.raises(ParityError, match=rf"the weights of step 3.* 1 of its \d+ tensors .*: {name}"):
                one.load_weights(leaving_stale(model.named_parameters(), held, name), "step 3")
    finally:
        engine.load_folder(BASE_FOLDER)


def test_what_the_engine_has_loaded_by_itself_is_proven_and_not_loaded_again(
    engine: VllmGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = engine.load_folder(BASE_FOLDER)
    monkeypatch.setattr(vllm_weights, "reload", None)
    monkeypatch.setattr(engine, "_version", AT_START)
    [weight] = engine._llm.apply_model(lambda model: model.model.layers[1].input_layernorm.weight)
    kept = weight.detach().clone()
    weight.data.mul_(1.0 + 1e-6)
    with pytest.raises(ParityError, match=r"1 of its \d+ tensors have other values: model.layers.1.input_layernorm.weight"):
        engine.load_folder(BASE_FOLDER)
    weight.data.copy_(kept)
    assert engine.load_folder(BASE_FOLDER) == digest


def test_parity_refuses_what_is_not_a_number() -> None:
    nothing = np.array([0.0, float("nan")])
    for is_float32 in (True, False):
        with pytest.raises(ParityError):
            require_parity(nothing, CONFIG, is_float32, "step 1")
    with pytest.raises(ParityError):
        require_small_divergence(float("nan"), 0.05, "step 1")


def test_a_response_of_exactly_the_limit_is_finished(engine: Generator, prompts: list[list[int]]) -> None:
    free = engine.generate(prompts[:1], Sampling(192), [5])[0]
    assert free.finish_reason == "stop"
    length = len(free.token_ids)
    exact = engine.generate(prompts[:1], Sampling(length), [5])[0]
    assert (exact.token_ids, exact.finish_reason) == (free.token_ids, "stop")
    short = engine.generate(prompts[:1], Sampling(length - 1), [5])[0]
    assert (short.token_ids, short.finish_reason) == (free.token_ids[:-1], "length")


def test_draws_depend_on_the_seed_not_on_the_batch(engine: Generator, prompts: list[list[int]]) -> None:
    together = engine.generate(prompts[:16], Sampling(64), list(range(16)))
    alone = engine.generate(prompts[3:4], Sampling(64), [3])[0]
    others = engine.generate(prompts[3:4] * 16, Sampling(64), list(range(16)))
    assert together[3].token_ids == alone.token_ids == others[3].token_ids
    assert len({tuple(other.token_ids) for other in others}) >= 3


def test_finished_requests_are_reported(engine: Generator, prompts: list[list[int]]) -> None:
    told: dict[int, Completion] = {}
    completions = engine.generate(prompts, Sampling(40), list(range(len(prompts))), told.__setitem__)
    assert [told[number] for number in range(len(prompts))] == completions
    assert list(told) != sorted(told), "as they finish"


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_texts_and_logprobs_are_those_of_the_engine_s_own_detokenizer(
    engine: VllmGenerator, prompts: list[list[int]], noise: float
) -> None:
    """With noise in the weights any token is drawn: special ones, and parts of characters, also at the end."""
    from vllm import SamplingParams
    from vllm.inputs import TokensPrompt

    torch.manual_seed(0)
    seeds = list(range(len(prompts)))
    parameters = [SamplingParams(temperature=1.0, max_tokens=40, logprobs=0, seed=seed) for seed in seeds]
    requests: Any = [TokensPrompt(prompt_token_ids=prompt) for prompt in prompts]
    noisy = ((name, each + noise * torch.randn_like(each)) for name, each in load_trainer().named_parameters())
    engine.load_weights(noisy, f"with noise of {noise}")
    try:
        expected = [output.outputs[0] for output in engine._llm.generate(requests, parameters, use_tqdm=False)]
        found = engine.generate(prompts, Sampling(40), seeds)
    finally:
        engine.load_folder(BASE_FOLDER)
    assert [(each.token_ids, each.text) for each in found] == [(list(each.token_ids), each.text) for each in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert theirs.logprobs is not None
        assert ours.logprobs == [entry[token].logprob for entry, token in zip(theirs.logprobs, ours.token_ids, strict=True)]
    if noise:
        tokenizer = engine._llm.get_tokenizer()
        assert any(tokenizer.decode(each.token_ids).endswith("\N{REPLACEMENT CHARACTER}") for each in found)
        assert any(set(tokenizer.all_special_ids) & set(each.token_ids[:-1]) for each in found)
    assert {each.finish_reason for each in found} == {"stop", "length"}


def test_rollout_seeds_differ_by_every_part() -> None:
    seeds = {rollout_seed(0, "train", step, prompt, index) for step in range(5) for prompt in "ab" for index in range(4)}
    assert len(seeds) == 40
    assert all(0 <= seed < 2**63 for seed in seeds)


def accuracy_by_prompt(samples: list[Sample], budget: int) -> np.ndarray:
    rates: dict[str, list[bool]] = {}
    for sample in samples:
        finished = sample.completion.finish_reason == "stop" and sample.num_tokens <= budget
        rates.setdefault(sample.prompt.prompt_id, []).append(finished and sample.grade.correct)
    return np.array([np.mean(values) for values in rates.values()])


def test_the_cut_result_agrees_with_a_real_cap(engine: Generator, tokenizer: object) -> None:
    """A long generation scored at 48 tokens, against other draws that were really stopped at 48."""
    problems = load_prompts(SOURCE)
    arguments = (engine, tokenizer, SOURCE, problems, 4)
    cut, _ = sample_and_judge(*arguments, Sampling(192), (0, "cut"))
    capped, _ = sample_and_judge(*arguments, Sampling(48), (0, "capped"))
    cut_rates, capped_rates = accuracy_by_prompt(cut, 48), accuracy_by_prompt(capped, 48)
    assert any(sample.num_tokens > 48 for sample in cut)
    assert max(sample.num_tokens for sample in capped) == 48
    low, high = bootstrap_intervals(cut_rates[:, None], 2000, 0)[0]
    assert low <= capped_rates.mean() <= high


def test_the_portable_engine_gives_the_same_logprobs_and_accuracy(engine: Generator, tokenizer: object) -> None:
    portable = make_generator(str(BASE_FOLDER), CONFIG.model_copy(update={"engine": "transformers"}), 256)
    problems = load_prompts(SOURCE)[:20]
    ids = [render_prompt(tokenizer, SOURCE, prompt.problem) for prompt in problems]  # type: ignore[arg-type]
    assert measure_logprob_gap(portable, scorer(load_trainer()), ids[:6], temperature=1.0) < 1e-4
    ours, _ = sample_and_judge(portable, tokenizer, SOURCE, problems, 4, Sampling(192), (0,))
    theirs, _ = sample_and_judge(engine, tokenizer, SOURCE, problems, 4, Sampling(192), (1,))
    difference = accuracy_by_prompt(ours, 192).mean() - accuracy_by_prompt(theirs, 192).mean()
    assert abs(difference) < 0.2
