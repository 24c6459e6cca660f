"""The dynamics watch: alarms for the known ways in which training for length goes wrong, and the two stages of a healthy run.

After findings F1, F3, F5 and F6 of arXiv 2602.20945; docs/dynamics.md says what each alarm means and why its threshold is where
it is. Everything follows from the rows of `training_steps` alone, so a resumed run raises what an uninterrupted one raises.
Shape suffixes: R rows, W windows of `window_steps` rows each, the first one ending at row number `window_steps`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pipeline_lib.config import WatchConfig
from pipeline_lib.records import Alarm, Phase

Floats = NDArray[np.float64]
Rows = Sequence[Mapping[str, Any]]

# split_phases: fewer rows than these show no stages, and no stage is shorter than these.
FEWEST_STEPS = 8
SHORTEST_PHASE_STEPS = 4
SMOOTHING_STEPS = 5
# The length has fallen when the fitted line falls by this share of its start, and by this many standard errors.
SMALLEST_FALL = 0.2
SMALLEST_FALL_ERRORS = 4.0
# A mean k3 of 1e-4 is a standard deviation of 0.014 nats a token: what grows below it, such as float32's rounding, harms nothing.
ENGINE_GAP_FLOOR = 1e-4
# Rows after the last one within this factor of the shortest length are a rebound: they do not say where the fall ended.
NEAR_SHORTEST = 1.15
# The length has stopped falling when it falls less than this share as fast as before, one standard error of its slope allowed for.
FLAT_SHARE = 0.5
SLOPE_ERRORS = 1.0


@dataclass(frozen=True, slots=True)
class Condition:
    """What a kind of alarm looks at, window by window: the value, what it is compared with, and whether the condition holds."""

    value_W: Floats
    threshold_W: Floats
    holds_W: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class DynamicsWatch:
    """Looks at a run's training steps for the conditions of `config`."""

    config: WatchConfig
    run_id: str

    def examine(self, rows: Rows, since_step: int = 0) -> list[Alarm]:
        """The alarms that the last row raises; called after every step with all rows so far (columns of `TrainingStep`).

        Only rows after `since_step` count: after a roll-back, what led to it says nothing about the restored weights.
        """
        if not rows:
            return []
        last_step = max(int(row["step"]) for row in rows)
        return [alarm for alarm in self.history(rows, since_step) if alarm.step == last_step]

    def history(self, rows: Rows, since_step: int = 0) -> list[Alarm]:
        """Every alarm that the rows have raised, by step.

        A kind is raised when its condition has held for `hold_steps` steps, and not again before it has ceased for
        `window_steps` steps. Rows without a value that a kind looks at are left out for that kind. O(rows).
        """
        table = _columns(rows, ("entropy", "mean_tokens", "accuracy", "positive_fraction", "logprob_gap_k3"), since_step)
        alarms = [alarm for kind in CONDITIONS if self.config.action(kind) != "ignore" for alarm in self._alarms(kind, table)]
        return sorted(alarms, key=lambda alarm: alarm.step)

    def _alarms(self, kind: str, table: dict[str, Floats]) -> list[Alarm]:
        names, condition_of = CONDITIONS[kind]
        known_R = np.all([np.isfinite(table[name]) for name in names], axis=0)
        if known_R.sum() < self.config.window_steps:
            return []
        steps_W = table["step"][known_R][self.config.window_steps - 1 :]
        condition = condition_of(self.config, *(table[name][known_R] for name in names))
        return [
            Alarm(
                run_id=self.run_id,
                step=int(steps_W[window]),
                kind=kind,
                value=float(condition.value_W[window]),
                threshold=float(condition.threshold_W[window]),
                action=self.config.action(kind),
            )
            for window in _onsets(condition.holds_W, self.config.hold_steps, self.config.window_steps)
        ]


def entropy_spike(config: WatchConfig, entropy_R: Floats) -> Condition:
    """Entropy far above its lowest recent level, and above where it began: a slow rise back to the start is refinement."""
    entropy_W = _levels(entropy_R, config.window_steps)
    padded = np.concatenate([np.full(config.entropy_spike_lookback_steps - 1, np.inf), entropy_W])
    recent_low_W = sliding_window_view(padded, config.entropy_spike_lookback_steps).min(axis=1)
    threshold_W = np.maximum(config.entropy_spike_factor * np.minimum(recent_low_W, entropy_W[0]), entropy_W[0])
    threshold_W = np.maximum(threshold_W, config.entropy_spike_floor)
    return Condition(entropy_W, threshold_W, entropy_W > threshold_W)


def length_collapse(config: WatchConfig, tokens_R: Floats, accuracy_R: Floats) -> Condition:
    """Responses much shorter than they were, at the cost of accuracy: short alone is what training is for."""
    tokens_W, accuracy_W = _levels(tokens_R, config.window_steps), _levels(accuracy_R, config.window_steps)
    threshold_W = config.length_collapse_fraction * _longest_level(tokens_R, config.window_steps)
    best_W = np.maximum.accumulate(accuracy_W)
    lost_W = (accuracy_W < config.length_collapse_accuracy_fraction * best_W) & (
        best_W - accuracy_W > config.length_collapse_accuracy_drop
    )
    return Condition(tokens_W, threshold_W, (tokens_W < threshold_W) & lost_W)


def length_rebound(config: WatchConfig, tokens_R: Floats) -> Condition:
    """Responses far longer than their shortest, which was well below what came before it."""
    tokens_W = _levels(tokens_R, config.window_steps)
    shortest_W = np.minimum.accumulate(tokens_W)
    shortest_at_W = np.maximum.accumulate(np.where(tokens_W <= shortest_W, np.arange(tokens_W.size), 0))
    longest_before_W = _longest_level(tokens_R, config.window_steps)[shortest_at_W]
    threshold_W = config.length_rebound_factor * shortest_W
    had_fallen_W = shortest_W <= (1 - config.length_rebound_fall) * longest_before_W
    return Condition(tokens_W, threshold_W, (tokens_W > threshold_W) & had_fallen_W)


def reward_starvation(config: WatchConfig, positive_R: Floats) -> Condition:
    """Next to no rollout earns a positive reward."""
    positive_W = _levels(positive_R, config.window_steps)
    threshold_W = np.full_like(positive_W, config.reward_starvation_fraction)
    return Condition(positive_W, threshold_W, positive_W < threshold_W)


def engine_gap(config: WatchConfig, k3_R: Floats) -> Condition:
    """Engine and trainer further apart than at the run's start, by more than number formats explain."""
    k3_W = _levels(k3_R, config.window_steps)
    threshold_W = np.full_like(k3_W, max(config.engine_gap_factor * k3_W[0], ENGINE_GAP_FLOOR))
    return Condition(k3_W, threshold_W, k3_W > threshold_W)


# Kind → the columns it looks at, and its condition on them.
CONDITIONS: dict[str, tuple[tuple[str, ...], Callable[..., Condition]]] = {
    "entropy_spike": (("entropy",), entropy_spike),
    "length_collapse": (("mean_tokens", "accuracy"), length_collapse),
    "length_rebound": (("mean_tokens",), length_rebound),
    "reward_starvation": (("positive_fraction",), reward_starvation),
    "engine_gap": (("logprob_gap_k3",), engine_gap),
}


def _columns(rows: Rows, names: tuple[str, ...], since_step: int = 0) -> dict[str, Floats]:
    """The columns and `step`, in the order of steps; None becomes NaN, and the last of several rows of one step counts."""
    by_step = {int(row["step"]): row for row in rows if int(row["step"]) > since_step}
    steps = sorted(by_step)
    table = {"step": np.array(steps, dtype=np.float64)}
    for name in names:
        values = (by_step[step].get(name) for step in steps)
        table[name] = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return table


def _levels(values_R: Floats, window: int) -> Floats:
    """The median of every `window` values in a row: one or two odd steps move it little, unlike the mean."""
    levels_W: Floats = np.median(sliding_window_view(values_R, window), axis=1)
    return levels_W


def _longest_level(tokens_R: Floats, window: int) -> Floats:
    """The longest level so far, at every window. The first rows count from half a window on: length may fall that fast."""
    early = [np.median(tokens_R[:num]) for num in range(max(1, window // 2), window)]
    longest: Floats = np.maximum.accumulate([*early, *_levels(tokens_R, window)])
    return longest[len(early) :]


def _onsets(holds_W: NDArray[np.bool_], hold: int, rest: int) -> list[int]:
    """Windows at which the condition has held `hold` times in a row, each once until it has failed `rest` times in a row."""
    onsets: list[int] = []
    raised, held, failed = False, 0, 0
    for window, holds in enumerate(holds_W.tolist()):
        held, failed = (held + 1, 0) if holds else (0, failed + 1)
        raised = raised and failed < rest
        if held >= hold and not raised:
            onsets.append(window)
            raised = True
    return onsets


def split_phases(run_id: str, rows: Rows) -> list[Phase]:
    """Length adaptation and reasoning refinement (F1), split where a fit of the length stops falling.

    The fit is the least-squares line that falls to a step and is flat from there on. Empty when the length never falls, or with
    fewer than 8 rows; length adaptation alone when it still falls at the end. A rebound belongs to the refinement.
    """
    table = _columns(rows, ("mean_tokens", "accuracy", "entropy"))
    known_R = np.isfinite(table["mean_tokens"])
    table = {name: column[known_R] for name, column in table.items()}
    if table["step"].size < FEWEST_STEPS:
        return []
    change = _change_row(table["step"], table["mean_tokens"])
    if change is None:
        return []
    parts = {"length_adaptation": slice(0, change + 1), "reasoning_refinement": slice(change + 1, None)}
    return [
        _phase(run_id, name, {column: values[part] for column, values in table.items()})
        for name, part in parts.items()
        if table["step"][part].size
    ]


@dataclass(frozen=True, slots=True)
class Fall:
    """A length that falls to the row `turn` by `slope` tokens a step and is flat from there on; noise of a row (std, tokens)."""

    turn: int
    slope: float
    noise_tokens: float


def _change_row(steps_R: Floats, tokens_R: Floats) -> int | None:
    """The last row of length adaptation: the last row of all while the length still falls, None when it never fell."""
    smooth_R = _centred_median(tokens_R, SMOOTHING_STEPS)
    num_fitted = int(np.flatnonzero(smooth_R <= NEAR_SHORTEST * smooth_R.min())[-1]) + 1
    fall = _fit_fall(steps_R[:num_fitted], smooth_R[:num_fitted], tokens_R[:num_fitted])
    if fall is None:
        return None
    return fall.turn if _is_flat(fall, steps_R[fall.turn :], smooth_R[fall.turn :]) else steps_R.size - 1


def _is_flat(fall: Fall, steps_R: Floats, smooth_R: Floats) -> bool:
    """Whether the rows from the turn on are enough to show that the length no longer falls as it did."""
    if steps_R.size <= SHORTEST_PHASE_STEPS:
        return False
    slope = -np.polyfit(steps_R, smooth_R, 1)[0]
    error = fall.noise_tokens / np.sqrt(((steps_R - steps_R.mean()) ** 2).sum())
    return bool(slope + SLOPE_ERRORS * error < FLAT_SHARE * fall.slope)


def _fit_fall(steps_R: Floats, smooth_R: Floats, tokens_R: Floats) -> Fall | None:
    """The least-squares line through the smoothed length that falls and then is flat; None when no fall stands out of the noise.

    The line is level + slope * max(turn - step, 0). For a given turn its least squares have a closed form in running sums.
    """
    num = steps_R.size
    if num <= SHORTEST_PHASE_STEPS:
        return None
    steps, centred = steps_R - steps_R[0], smooth_R - smooth_R.mean()
    counts = np.arange(1, num + 1)
    sum_x = steps * counts - np.cumsum(steps)
    sum_xx = steps**2 * counts - 2 * steps * np.cumsum(steps) + np.cumsum(steps**2)
    sum_xy = np.maximum(steps * np.cumsum(centred) - np.cumsum(steps * centred), 0.0)
    spread = sum_xx - sum_x**2 / num
    turns = np.arange(SHORTEST_PHASE_STEPS, num)
    turn = int(turns[np.argmax(sum_xy[turns] ** 2 / spread[turns])])
    slope = sum_xy[turn] / spread[turn]
    level = smooth_R.mean() - slope * sum_x[turn] / num
    line_R = level + slope * np.maximum(steps[turn] - steps, 0.0)
    noise = np.sqrt(((tokens_R - line_R) ** 2).sum() / max(num - 3, 1))
    fall, error = slope * steps[turn], noise / np.sqrt(spread[turn]) * steps[turn]
    if fall <= SMALLEST_FALL * line_R[0] or fall <= SMALLEST_FALL_ERRORS * error:
        return None
    return Fall(turn, float(slope), float(noise))


def _centred_median(values_R: Floats, window: int) -> Floats:
    """Median of each value and its neighbours; the window shrinks at both ends."""
    half = window // 2
    padded = np.concatenate([np.full(half, np.nan), values_R, np.full(half, np.nan)])
    smooth_R: Floats = np.nanmedian(sliding_window_view(padded, window), axis=1)
    return smooth_R


def _phase(run_id: str, name: str, table: dict[str, Floats]) -> Phase:
    """The phase that is the whole of `table`, with means over its first and last steps."""
    num = min(SMOOTHING_STEPS, table["step"].size)
    ends = {
        f"{column}_{end}": _mean(table[column][part])
        for column in ("mean_tokens", "accuracy", "entropy")
        for end, part in (("first", slice(0, num)), ("last", slice(-num, None)))
    }
    return Phase(run_id, name, int(table["step"][0]), int(table["step"][-1]), **ends)


def _mean(values: Floats) -> float:
    """Mean of the known values; NaN when there is none."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")
