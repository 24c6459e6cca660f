"""The portable engine: plain transformers with a key-value cache and one random generator a request.

Slower than vLLM, but runs wherever torch does, and an independent witness of vLLM's log-probs.
Shape suffixes: B sequences, V vocabulary.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline_lib.config import GenerationConfig
from pipeline_lib.generation.checksums import Checksums, checksum, counting, digest_of, require_sent_weights
from pipeline_lib.generation.protocol import More, OnFinished, Sampling
from pipeline_lib.records import Completion


class TransformersGenerator:
    """A transformers model for one model folder or hub id."""

    def __init__(self, model: str, config: GenerationConfig, revision: str | None = None) -> None:
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._can_sleep = config.sleep and self._device.type == "cuda"
        self._folder, self._revision = model, revision
        self._batch_size = config.max_num_seqs
        self._tokenizer: Any = AutoTokenizer.from_pretrained(model, revision=revision)
        causal_lm: Any = AutoModelForCausalLM.from_pretrained(model, revision=revision, dtype=getattr(torch, config.dtype))
        self._model: Any = causal_lm.to(self._device).eval()
        self._end_token_ids = _end_token_ids(self._model, self._tokenizer)

    def generate(
        self,
        prompts: Sequence[list[int]],
        sampling: Sampling,
        seeds: Sequence[int],
        on_finished: OnFinished | None = None,
        more: More | None = None,
    ) -> list[Completion]:
        """See `Generator.generate`; `more` is asked before each batch of the engine."""
        asked = list(zip(prompts, seeds, strict=True))
        completions: list[Completion] = []
        while True:
            asked += more() if more else []
            if not (batch := asked[len(completions) :][: self._batch_size]):
                return completions
            for completion in self._generate_batch([prompt for prompt, _ in batch], sampling, [seed for _, seed in batch]):
                completions.append(completion)
                if on_finished:
                    on_finished(len(completions) - 1, completion)

    @torch.inference_mode()
    def _generate_batch(self, prompts: Sequence[list[int]], sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        generators = [torch.Generator(self._device).manual_seed(seed) for seed in seeds]
        tokens: list[list[int]] = [[] for _ in prompts]
        logprobs: list[list[float]] = [[] for _ in prompts]
        running = list(range(len(prompts)))
        input_ids, attention_mask = self._left_padded(prompts)
        positions = (attention_mask.cumsum(-1) - 1).clamp(min=0)
        cache = None
        for _ in range(sampling.limit_tokens):
            output = self._model(
                input_ids=input_ids,
                attention_mask=attention_mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache = output.past_key_values
            logprobs_BV = _sampling_logprobs(output.logits[:, -1], sampling)
            drawn = _draw(logprobs_BV, generators)
            for row in running:
                tokens[row].append(int(drawn[row]))
                logprobs[row].append(float(logprobs_BV[row, drawn[row]]))
            running = [row for row in running if tokens[row][-1] not in self._end_token_ids]
            if not running:
                break
            input_ids = drawn[:, None]
            attention_mask = torch.cat([attention_mask, attention_mask.new_ones(len(prompts), 1)], dim=1)
            positions = positions[:, -1:] + 1
        return [self._completion(row_tokens, row_logprobs) for row_tokens, row_logprobs in zip(tokens, logprobs, strict=True)]

    def _left_padded(self, prompts: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        width = max(len(prompt) for prompt in prompts)
        ids = [[0] * (width - len(prompt)) + list(prompt) for prompt in prompts]
        mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        return torch.tensor(ids, device=self._device), torch.tensor(mask, device=self._device)

    def _completion(self, token_ids: list[int], logprobs: list[float]) -> Completion:
        ended = token_ids[-1] in self._end_token_ids
        text = self._tokenizer.decode(token_ids, skip_special_tokens=True)
        return Completion(token_ids, logprobs, text, "stop" if ended else "length")

    def load_weights(self, named_weights: Iterable[tuple[str, torch.Tensor]], version: str) -> str:
        """See `Generator.load_weights`."""
        self._model.to(self._device)
        own, dtype = dict(self._model.named_parameters()), self._model.dtype
        sent: Checksums = Counter()
        with torch.no_grad():
            for name, weight in counting(named_weights, dtype, sent):
                if name in own:
                    own[name].copy_(weight)
        held: Checksums = Counter({name: checksum(parameter, dtype) for name, parameter in own.items()})
        require_sent_weights(sent, held, version, fused={})
        return digest_of(held)

    def load_folder(self, folder: Path) -> str:
        """See `Generator.load_folder`."""
        revision = self._revision if str(folder) == self._folder else None
        fresh: Any = AutoModelForCausalLM.from_pretrained(folder, revision=revision, dtype=self._model.dtype)
        return self.load_weights(fresh.named_parameters(), str(folder))

    def sleep(self) -> None:
        """See `Generator.sleep`: the model waits in the CPU's memory."""
        if self._can_sleep:
            self._model.to("cpu")
            torch.cuda.empty_cache()

    def drain(self) -> None:
        """See `Generator.drain`."""

    def close(self) -> None:
        """See `Generator.close`."""
        del self._model


def _end_token_ids(model: Any, tokenizer: Any) -> set[int]:
    configured = model.generation_config.eos_token_id
    if configured is None:
        configured = tokenizer.eos_token_id
    return set(configured) if isinstance(configured, list) else {configured}


def _sampling_logprobs(logits_BV: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Log-probs of the distribution that is sampled: after temperature, and renormalised over the top_p nucleus."""
    logprobs_BV = torch.log_softmax(logits_BV.float() / sampling.temperature, dim=-1)
    if sampling.top_p >= 1.0:
        return logprobs_BV
    sorted_logprobs, order = logprobs_BV.sort(dim=-1, descending=True)
    mass_before = sorted_logprobs.exp().cumsum(-1) - sorted_logprobs.exp()
    dropped = torch.zeros_like(mass_before, dtype=torch.bool).scatter(-1, order, mass_before >= sampling.top_p)
    return torch.log_softmax(logprobs_BV.masked_fill(dropped, float("-inf")), dim=-1)


def _draw(logprobs_BV: torch.Tensor, generators: list[torch.Generator]) -> torch.Tensor:
    """One token a row by the exponential race, each row with its own random generator."""
    waits_BV = torch.empty_like(logprobs_BV)
    for row, generator in enumerate(generators):
        waits_BV[row].exponential_(generator=generator)
    return (logprobs_BV - waits_BV.log()).argmax(dim=-1)
