"""Difficulty of prompts for the profiled model, and which of them are trained on.

A prompt is easy when its pass rate over N rollouts is above 0.5 and hard otherwise (paper, finding F3).
"""

from collections.abc import Mapping, Sequence

from pipeline_lib.config import FilterConfig
from pipeline_lib.records import DifficultyEstimate, Selection

EASY_PASS_RATE = 0.5
HISTOGRAM_WIDTH = 40


class EmptySelectionError(ValueError):
    """No profiled prompt satisfies the filter; the message shows the pass-rate histogram."""


def recorded_difficulty(run_id: str, pass_rates: Mapping[str, float], num_tries: int) -> list[DifficultyEstimate]:
    """Estimates from pass rates (0-1) that a data set carries, by prompt id; lengths are not known.

    `num_correct` is the nearest whole number of `num_tries`, `pass_rate` what was recorded.
    """
    return [
        DifficultyEstimate(run_id, prompt_id, num_tries, round(rate * num_tries), rate, None)
        for prompt_id, rate in pass_rates.items()
    ]


def difficulty_class(pass_rate: float) -> str:
    """The paper's class of a prompt: 'easy' above a pass rate of 0.5, else 'hard'."""
    return "easy" if pass_rate > EASY_PASS_RATE else "hard"


def select_prompts(estimates: Sequence[DifficultyEstimate], config: FilterConfig) -> list[Selection]:
    """Decide for every profiled prompt whether it is trained on, and say why; one Selection per estimate, same order.

    Raises EmptySelectionError, with the pass-rate histogram, when nothing is selected.
    """
    if not estimates:
        raise EmptySelectionError("no prompt was profiled, so none can be selected")
    selections = [_select(estimate, config) for estimate in estimates]
    if not any(selection.selected for selection in selections):
        histogram = "\n".join(pass_rate_histogram(estimates))
        raise EmptySelectionError(
            f"{_describe(config)} selects none of the {len(estimates)} profiled prompts; their pass rates:\n{histogram}"
        )
    return selections


def _select(estimate: DifficultyEstimate, config: FilterConfig) -> Selection:
    label = difficulty_class(estimate.pass_rate)
    rate = f"pass rate {estimate.pass_rate:.6g}"
    if config.subset == "all":
        selected, reason = True, f"{rate}: every prompt is kept"
    elif config.subset == "band":
        selected, reason = _judge_band(estimate.pass_rate, rate, config)
    else:
        selected = label == config.subset
        reason = f"{rate} is {'above' if label == 'easy' else 'at most'} {EASY_PASS_RATE:g}"
    return Selection(run_id=estimate.run_id, prompt_id=estimate.prompt_id, subset=label, selected=selected, reason=reason)


def _judge_band(pass_rate: float, rate: str, config: FilterConfig) -> tuple[bool, str]:
    if pass_rate < config.min_pass_rate:
        return False, f"{rate} is below {config.min_pass_rate:g}"
    if pass_rate > config.max_pass_rate:
        return False, f"{rate} is above {config.max_pass_rate:g}"
    return True, f"{rate} is within {config.min_pass_rate:g} to {config.max_pass_rate:g}"


def _describe(config: FilterConfig) -> str:
    if config.subset != "band":
        return f"filter.subset = '{config.subset}'"
    return f"filter.subset = 'band' ({config.min_pass_rate:g} to {config.max_pass_rate:g})"


def pass_rate_histogram(estimates: Sequence[DifficultyEstimate]) -> list[str]:
    """Text lines, one per bin: a bin for each possible pass rate when all prompts share a small N, else ten equal bins."""
    rollout_counts = {estimate.num_rollouts for estimate in estimates}
    if len(rollout_counts) == 1 and (num_rollouts := next(iter(rollout_counts))) <= 16:
        labels = [f"{num_correct}/{num_rollouts}" for num_correct in range(num_rollouts + 1)]
        bins = [estimate.num_correct for estimate in estimates]
    else:
        labels = [f"{low / 10:.1f}-{(low + 1) / 10:.1f}" for low in range(10)]
        bins = [min(10 * estimate.num_correct // estimate.num_rollouts, 9) for estimate in estimates]
    counts = [bins.count(index) for index in range(len(labels))]
    label_width = max(map(len, labels))
    longest = max(counts, default=0) or 1
    bars = ["#" * -(-count * HISTOGRAM_WIDTH // longest) for count in counts]
    return [f"{label:>{label_width}} | {bar} {count}" for label, bar, count in zip(labels, bars, counts, strict=True)]
