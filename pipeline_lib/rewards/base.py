"""What every reward is: a function of the lengths and the correctness of rollout groups.

Shape suffixes: P = prompts (groups), N = rollouts of one prompt. Whole groups are handed over because many length rewards
compare a rollout with the others of its prompt; many groups at once, so that 40,000 prompts are scored in milliseconds.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipeline_lib.section import Section

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]

# Types of the rewards' settings: finite, because one infinite weight makes a whole group NaN.
Weight = Annotated[float, Field(gt=0.0, le=1000.0)]
Score = Annotated[float, Field(ge=-1000.0, le=1000.0)]
Penalty = Annotated[float, Field(ge=-1000.0, le=0.0)]
Cost = Annotated[float, Field(ge=0.0, le=1000.0)]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What is known about the rollouts of some groups; all arrays have the shape (P, N).

    `lengths_PN` counts tokens, the end token included; `finished_PN` is False where a rollout was cut at L_R;
    `repetitive_PN` is True where the text repeats itself (`pipeline_lib.rewards.repetition`).
    """

    lengths_PN: IntArray
    correct_PN: BoolArray
    finished_PN: BoolArray
    repetitive_PN: BoolArray

    @classmethod
    def of(cls, lengths_PN: Any, correct_PN: Any, finished_PN: Any = None, repetitive_PN: Any = None) -> "Outcomes":
        """Outcomes from anything array-like; by default all are finished and none is repetitive. Raises ValueError for shapes."""
        lengths, correct = np.asarray(lengths_PN, dtype=np.int64), np.asarray(correct_PN, dtype=np.bool_)
        if lengths.ndim != 2 or lengths.shape != correct.shape:
            raise ValueError(f"lengths of shape {lengths.shape} and judgements of shape {correct.shape}: both must be (P, N)")
        finished = np.ones_like(correct) if finished_PN is None else np.asarray(finished_PN, dtype=np.bool_)
        repetitive = np.zeros_like(correct) if repetitive_PN is None else np.asarray(repetitive_PN, dtype=np.bool_)
        return cls(lengths, correct, finished, repetitive)

    def within(self, limit_tokens: int) -> "Outcomes":
        """What the same rollouts show when they are cut at a limit: one that is longer is unfinished and incorrect."""
        fits_PN = self.lengths_PN <= limit_tokens
        lengths_PN = np.minimum(self.lengths_PN, limit_tokens)
        return replace(
            self, lengths_PN=lengths_PN, correct_PN=self.correct_PN & fits_PN, finished_PN=self.finished_PN & fits_PN
        )

    @property
    def num_correct_P1(self) -> IntArray:
        num_correct_P1: IntArray = self.correct_PN.sum(axis=1, keepdims=True)
        return num_correct_P1

    @property
    def pass_rate_P1(self) -> FloatArray:
        """Share of correct rollouts of each group (0-1)."""
        pass_rate_P1: FloatArray = self.correct_PN.mean(axis=1, keepdims=True)
        return pass_rate_P1

    def correct_z_scores(self, sample_std: bool) -> FloatArray:
        """z_PN of correct rollouts: (L - mean) / std over the group's correct ones; 0 where these are equally long, and for wrong ones.

        `sample_std`: the denominator of the variance is n - 1, else n.
        """
        num_correct_P1 = np.maximum(self.num_correct_P1, 1)
        mean_P1 = (self.lengths_PN * self.correct_PN).sum(axis=1, keepdims=True) / num_correct_P1
        distance_PN = (self.lengths_PN - mean_P1) * self.correct_PN
        degrees_P1 = np.maximum(num_correct_P1 - sample_std, 1)
        std_P1 = np.sqrt((distance_PN**2).sum(axis=1, keepdims=True) / degrees_P1)
        z_PN: FloatArray = distance_PN / np.where(std_P1 > 0, std_P1, 1.0)
        return z_PN


class NoParameters(Section):
    """For rewards that L_T alone describes."""


ParametersT = TypeVar("ParametersT", bound=Section)


class Reward(ABC, Generic[ParametersT]):
    """A reward. A subclass names its settings in `Parameters` (validated, defaults as published) and implements `score`.

    `target_tokens` is the L_T in force: fixed unless the reward moves it. `limit_tokens` is L_R, the longest a rollout can be.
    """

    Parameters: ClassVar[type[Section]] = NoParameters
    reads_text: ClassVar[bool] = False  # whether `Outcomes.repetitive_PN` is needed, which costs a pass over the texts

    def __init__(self, parameters: ParametersT, target_tokens: int, limit_tokens: int) -> None:
        self.parameters = parameters
        self.target_tokens = float(target_tokens)
        self.limit_tokens = limit_tokens

    def tokens_within_limit(self, key: str, absent: float) -> float:
        """A setting in tokens, `absent` where it is not given. Raises ValueError when it is above L_R."""
        tokens = getattr(self.parameters, key)
        if tokens is not None and tokens > self.limit_tokens:
            raise ValueError(f"reward.parameters.{key} = {tokens}: at most L_R = {self.limit_tokens} tokens")
        return absent if tokens is None else float(tokens)

    def __call__(self, lengths_G: Sequence[int], correct_G: Sequence[bool]) -> list[float]:
        """Rewards_G of one group from lengths in tokens and correctness. Raises ValueError when the two differ in number."""
        if len(lengths_G) != len(correct_G):
            raise ValueError(f"a group has {len(lengths_G)} lengths but {len(correct_G)} judgements: one of each per rollout")
        rewards_G: list[float] = self.score(Outcomes.of([lengths_G], [correct_G]))[0].tolist()
        return rewards_G

    def observe(self, outcomes: Outcomes) -> None:
        """Take note of a whole batch (all ranks) before it is scored; for rewards that follow the policy. Does nothing here."""

    @abstractmethod
    def score(self, outcomes: Outcomes) -> FloatArray:
        """The formula: rewards_PN, vectorised over groups."""

    def weigh(self, advantages_PN: FloatArray, outcomes: Outcomes) -> FloatArray:
        """Advantages after a weighting that belongs to the reward's recipe; unchanged here."""
        return advantages_PN

    def state(self) -> dict[str, Any]:
        """What `observe` has learned, as plain JSON values, for the checkpoint."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
