"""What every reward is: a function of the lengths and the correctness of one rollout group.

Shape suffix: G = rollouts of one prompt (the group). The whole group is handed over because many length rewards compare a
rollout with the others of its prompt.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline_lib.config import RewardConfig

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]


class Reward(ABC):
    """A reward for one group. Subclasses implement `score` and read their settings in `__init__`."""

    def __init__(self, config: RewardConfig) -> None:
        self.config = config

    def __call__(self, lengths_G: Sequence[int], correct_G: Sequence[bool]) -> list[float]:
        """Rewards_G of one group from lengths in tokens and correctness. Raises ValueError when the two differ in number."""
        if len(lengths_G) != len(correct_G):
            raise ValueError(f"a group has {len(lengths_G)} lengths but {len(correct_G)} judgements: one of each per rollout")
        lengths = np.asarray(lengths_G, dtype=np.int64)
        correct = np.asarray(correct_G, dtype=np.bool_)
        rewards_G: list[float] = self.score(lengths, correct).tolist()
        return rewards_G

    @abstractmethod
    def score(self, lengths_G: IntArray, correct_G: BoolArray) -> FloatArray:
        """The formula: rewards_G of one group, vectorised."""
