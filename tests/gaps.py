"""How far an engine is from the weights that it should have."""

from collections.abc import Sequence

import numpy as np

from pipeline_lib.generation.parity import ScoreTokens, logprob_differences
from pipeline_lib.generation.protocol import Generator


def measure_logprob_gap(
    generator: Generator, score_tokens: ScoreTokens, prompts: Sequence[list[int]], temperature: float
) -> float:
    """Largest |engine - trainer| log-prob (nats) over a few freshly sampled tokens per prompt."""
    return float(np.max(np.abs(logprob_differences(generator, score_tokens, prompts, temperature))))
