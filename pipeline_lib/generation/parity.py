"""The parity checks: an engine must give sampled tokens the log-probs that the trainer's weights give them.

A weight sync that leaves part of an engine on old weights raises no error by itself; rollouts are then drawn from a policy that
is not the one being trained. That the engine's tensors are those it was sent is shown by `checksums`; what an engine derives from
them shows in the log-probs alone. In float32 the largest difference of a few tokens decides. Coarser formats have outliers whose
size grows with the number of tokens, so a mean decides there: k3 = ratio - log ratio - 1, which estimates KL(engine || trainer).
"""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.config import GenerationConfig
from pipeline_lib.generation.protocol import Generator, Sampling

# (prompt token ids, response token ids) of each sequence -> log-probs of the response tokens under the trainer's weights.
ScoreTokens = Callable[[Sequence[list[int]], Sequence[list[int]]], list[list[float]]]

PARITY_TOKENS = 16
# Prompts of a model whose tokenizer and task nobody has at hand: ids that every vocabulary has.
ANY_PROMPTS = [[number, 5 + number, 11, 7] for number in range(4)]


class ParityError(RuntimeError):
    """The engine does not generate with the weights that it should have."""


def logprob_differences(
    generator: Generator, score_tokens: ScoreTokens, prompts: Sequence[list[int]], temperature: float
) -> NDArray[np.float64]:
    """Trainer minus engine log-prob (nats) of a few freshly sampled tokens per prompt."""
    sampling = Sampling(limit_tokens=PARITY_TOKENS, temperature=temperature)
    completions = generator.generate(prompts, sampling, seeds=list(range(len(prompts))))
    scored = score_tokens(prompts, [completion.token_ids for completion in completions])
    engine = [logprob for completion in completions for logprob in completion.logprobs]
    trainer = [logprob for row in scored for logprob in row]
    return np.subtract(trainer, engine)


def mean_k3(differences: NDArray[np.float64]) -> float:
    """Mean of ratio - log ratio - 1 for log ratios trainer minus engine."""
    return float(np.mean(np.expm1(differences) - differences))


def require_parity(differences: NDArray[np.float64], config: GenerationConfig, is_float32: bool, what: str) -> None:
    """Raise ParityError when the log-probs of a few tokens are too far apart for the number format, or are not numbers."""
    if not is_float32:
        require_small_divergence(mean_k3(differences), config.kl_tolerance, what)
    elif not (gap := float(np.max(np.abs(differences)))) <= config.parity_tolerance:  # NumPy's maximum hands on NaN
        raise ParityError(
            f"{what}: the engine's log-probs differ from the trainer's by {gap:.3g} nats, more than generation.parity_tolerance = "
            f"{config.parity_tolerance}: the engine does not generate with the trained weights"
        )


def require_small_divergence(k3: float | None, tolerance: float, what: str) -> None:
    """Raise ParityError when the mean k3 (None: of no token) is beyond the tolerance or not a number."""
    if k3 is not None and not k3 <= tolerance:
        raise ParityError(
            f"{what}: mean k3 of engine and trainer is {k3:.3g}, more than generation.kl_tolerance = {tolerance}: the engine does "
            "not generate with the trained weights, or their number formats are too far apart to train on its rollouts. If the "
            "latter is meant, raise generation.kl_tolerance."
        )


def require_one_digest(digests: Collection[str], version: str) -> None:
    """Raise ParityError when the engines of the ranks hold different weights."""
    if len(set(digests)) > 1:
        raise ParityError(f"the engines hold different weights after they were sent those of {version}: {', '.join(digests)}")


def folder_scores(folder: str, revision: str | None, dtype: str) -> ScoreTokens:
    """Log-probs by plain transformers under the weights of a model folder, one sequence at a time on the CPU."""
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder, revision=revision, dtype=getattr(torch, dtype))

    @torch.no_grad()
    def score(prompts: Sequence[list[int]], responses: Sequence[list[int]]) -> list[list[float]]:
        rows = []
        for prompt, response in zip(prompts, responses, strict=True):
            logits = model(torch.tensor([list(prompt) + list(response)])).logits[0, len(prompt) - 1 : -1].float()
            rows.append(torch.log_softmax(logits, dim=-1)[range(len(response)), response].tolist())
        return rows

    return score


def require_folder_parity(generator: Generator, folder: Path, revision: str | None, config: GenerationConfig) -> None:
    """Raise ParityError when an engine does not generate with the weights of a model folder or hub id."""
    score = folder_scores(str(folder), revision, config.dtype)
    differences = logprob_differences(generator, score, ANY_PROMPTS, temperature=1.0)
    require_parity(differences, config, config.dtype == "float32", f"after the weights of {folder} were loaded")
