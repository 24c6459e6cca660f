"""Finding F10 by calculation: how large the advantage of a rare positive rollout is, by estimator (paper, appendix D)."""

import torch

from pipeline_lib.config.training import AdvantageEstimator
from pipeline_lib.files.markdown import table
from pipeline_lib.grpo import group_advantages

GROUP_SIZES = (4, 8)
ESTIMATORS: tuple[tuple[AdvantageEstimator, str], ...] = (
    ("grpo", "grpo: (r − mean) / std"),
    ("mean", "mean: r − mean"),
    ("rloo", "rloo: r − mean of the others"),
)


def positive_advantage(num_rollouts: int, num_positive: int, estimator: AdvantageEstimator) -> float:
    """Advantage of each positive rollout in a group of N rewards of which `num_positive` are 1 and the others 0."""
    rewards_PN = torch.tensor([[1.0] * num_positive + [0.0] * (num_rollouts - num_positive)], dtype=torch.float64)
    return float(group_advantages(rewards_PN, estimator)[0, 0])


def advantage_rows() -> list[list[str]]:
    """For each N and estimator: the advantage with 1, N / 2 and N - 1 positives, and the first over each of the others."""
    rows = []
    for num_rollouts in GROUP_SIZES:
        for estimator, words in ESTIMATORS:
            counts = (1, num_rollouts // 2, num_rollouts - 1)
            rare, half, common = (positive_advantage(num_rollouts, count, estimator) for count in counts)
            advantages = [f"{value:.3f}" for value in (rare, half, common)]
            rows.append([str(num_rollouts), words, *advantages, f"{rare / half:.2f}", f"{rare / common:.2f}"])
    return rows


def advantage_section() -> str:
    header = ["N", "estimator", "1 of N positive", "N/2", "N − 1", "1 against N/2", "1 against N − 1"]
    text = (
        "Advantage of each positive rollout (reward 1, the others 0) in one group, by `pipeline_lib.grpo.group_advantages`. "
        "A rare positive, as hard prompts give, counts more than one of many, as the paper says. Against its mirror image "
        "({1,0,0,0} against {1,1,1,0}) it does so by a factor of N − 1 under every estimator, since both groups have the same "
        "std. Dividing by the std adds to it against a balanced group, and the more so the larger N."
    )
    return "\n\n".join(["## By calculation", text, table(header, advantage_rows())])
