"""The parity check: an engine must give sampled tokens the log-probs that the trainer's weights give them.

A weight sync that leaves part of an engine on old weights raises no error by itself; rollouts are then drawn from a policy that
is not the one being trained.
"""

from collections.abc import Callable, Sequence

import numpy as np

from pipeline_lib.generation.protocol import Generator, Sampling

# (prompt token ids, response token ids) of each sequence -> log-probs of the response tokens under the trainer's weights.
ScoreTokens = Callable[[Sequence[list[int]], Sequence[list[int]]], list[list[float]]]

PARITY_TOKENS = 16


class ParityError(RuntimeError):
    """The engine does not generate with the trainer's weights."""


def measure_logprob_gap(
    generator: Generator, score_tokens: ScoreTokens, prompts: Sequence[list[int]], temperature: float
) -> float:
    """Largest |engine - trainer| log-prob (nats) over a few freshly sampled tokens per prompt."""
    sampling = Sampling(limit_tokens=PARITY_TOKENS, temperature=temperature)
    completions = generator.generate(prompts, sampling, seeds=list(range(len(prompts))))
    scored = score_tokens(prompts, [completion.token_ids for completion in completions])
    engine = [logprob for completion in completions for logprob in completion.logprobs]
    trainer = [logprob for row in scored for logprob in row]
    # Unlike Python's max, NumPy's hands on a value that is not a number.
    return float(np.max(np.abs(np.subtract(engine, trainer))))


def require_parity(gap: float, tolerance: float, step: int) -> None:
    """Raise ParityError when the gap (nats) is beyond the tolerance or not a number."""
    if not gap <= tolerance:
        raise ParityError(
            f"after the weight sync of step {step} the engine's log-probs differ from the trainer's by {gap:.3g} nats, more than "
            f"generation.parity_tolerance = {tolerance}: the engine does not generate with the trained weights. If the weights are "
            "in fact the same and only the number format differs, raise generation.parity_tolerance."
        )
