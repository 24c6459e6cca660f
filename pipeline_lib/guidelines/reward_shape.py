"""What a reward pays for, found by asking it: rewards of made-up groups, so that a new reward needs no entry here."""

from dataclasses import dataclass

import numpy as np

from pipeline_lib.config import RewardConfig
from pipeline_lib.messages.finite import not_finite, stop_for
from pipeline_lib.rewards import Outcomes, make_reward
from pipeline_lib.rewards.base import BoolArray, FloatArray, IntArray

NUM_ROLLOUTS = 8
TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class RewardShape:
    """Properties of a reward at its L_T and L_R.

    `uses_target`: another L_T gives other rewards. `cuts_at_target`: a correct rollout one token beyond L_T earns what a wrong one
    earns. `looks_at_length`: rewards of correct rollouts up to L_R depend on their length; `varies_within_target`: those up to L_T
    do. `prefers_shorter`: shorter is better even where all are within half of L_T. `pays_short_failures`, `pays_long_failures`: in
    a group without a correct rollout the shortest, or the longest, earns most. `moves_target`: L_T follows the rollouts.
    """

    uses_target: bool
    cuts_at_target: bool
    looks_at_length: bool
    varies_within_target: bool
    prefers_shorter: bool
    pays_short_failures: bool
    pays_long_failures: bool
    moves_target: bool

    @property
    def presses_at_one_length(self) -> bool:
        """Whether nothing but a fixed L_T, or L_R, tells a correct rollout to be shorter."""
        elsewhere = self.looks_at_length and not self.uses_target
        return not (self.varies_within_target or self.moves_target or elsewhere)


def probe_reward(config: RewardConfig, limit_tokens: int) -> RewardShape:
    """Ask the reward about groups of 8 rollouts whose lengths are spread evenly up to L_R and up to half of L_T, or lie beyond L_T.

    Raises NotFiniteError for a reward that is not finite.
    """
    target = config.target_tokens
    lengths, brief, beyond = _spread(limit_tokens), _spread(target // 2), np.full(NUM_ROLLOUTS, target + 1)
    half_correct = np.arange(NUM_ROLLOUTS) % 2 == 0
    all_correct, all_wrong = np.ones(NUM_ROLLOUTS, bool), np.zeros(NUM_ROLLOUTS, bool)
    moves_target = _moves_target(config, limit_tokens, brief)

    def ask(lengths_N: IntArray, correct_N: BoolArray, target_tokens: int = target) -> FloatArray:
        reward = make_reward(config.model_copy(update={"target_tokens": target_tokens}), limit_tokens)
        outcomes = Outcomes.of([lengths_N], [correct_N])
        if not moves_target:  # a moved target would be that of the made-up lengths
            reward.observe(outcomes)
        rewards_GN = reward.score(outcomes)
        stop_for(not_finite(rewards_GN, f"reward {config.name!r}", lambda _, index: f"a rollout of {lengths_N[index]} tokens"))
        rewards_N: FloatArray = rewards_GN[0]
        return rewards_N

    correct, correct_brief, wrong = ask(lengths, all_correct), ask(brief, all_correct), ask(lengths, all_wrong)
    too_long = ask(beyond, half_correct)
    return RewardShape(
        uses_target=not all(
            np.allclose(ask(lengths, judged), ask(lengths, judged, max(1, target // 2)), atol=TOLERANCE)
            for judged in (half_correct, all_correct, all_wrong)
        ),
        cuts_at_target=bool(np.isclose(too_long[half_correct], too_long[~half_correct], atol=TOLERANCE).all()),
        looks_at_length=bool(np.ptp(correct) > TOLERANCE),
        varies_within_target=bool(np.ptp(ask(_spread(target), all_correct)) > TOLERANCE),
        prefers_shorter=bool(correct_brief[0] > correct_brief[-1] + TOLERANCE),
        pays_short_failures=bool(wrong[0] > wrong[-1] + TOLERANCE),
        pays_long_failures=bool(wrong[-1] > wrong[0] + TOLERANCE),
        moves_target=moves_target,
    )


def _spread(limit_tokens: int) -> IntArray:
    """8 lengths with even steps, below the limit where it leaves room: a response of exactly L_R tokens may be a cut one."""
    lengths: IntArray = np.arange(1, NUM_ROLLOUTS + 1) * max(1, (limit_tokens - 1) // NUM_ROLLOUTS)
    return lengths


def _moves_target(config: RewardConfig, limit_tokens: int, short_lengths: IntArray) -> bool:
    """Whether L_T is another one after a batch of correct rollouts far below it."""
    reward = make_reward(config, limit_tokens)
    before = reward.target_tokens
    reward.observe(Outcomes.of([short_lengths], [np.ones(len(short_lengths), bool)]))
    return reward.target_tokens != before
