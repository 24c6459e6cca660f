"""Which L_T and which prompts to train on, by the first step they would give; guidelines 1 and 2 of arXiv 2602.20945.

Guideline 1: positive rewards must be dense, so train on easier prompts. Guideline 2: sample at the target, L_R = L_T, and not so
tight that the length collapses. Candidates are L_T at quantiles of the correct lengths, for each subset, with L_R = L_T and
nothing masked; among those with a dense signal and pressure on length the highest score wins. The thresholds are ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline_lib.preview.first_step import FirstStep, Previewer
from pipeline_lib.preview.settings import SUBSETS, PreviewSetting, SettingsAround, selected_prompts, target_candidates

DENSE_POSITIVES = 0.25
SPARSE_SIGNAL = 0.5
CANDIDATE_QUANTILES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The first step of the recommended L_T and subset, and the reasons as sentences. `candidates`: all that were compared."""

    step: FirstStep
    is_dense: bool
    sentences: tuple[str, ...]
    candidates: tuple[FirstStep, ...]


def recommend(previewer: Previewer, configured: FirstStep) -> Recommendation | None:
    """The best candidate with a dense signal, else the best; None when no rollout is correct."""
    candidates = [previewer.first_step(setting) for setting in _candidates(previewer, configured.setting)]
    if not candidates:
        return None
    dense = [step for step in candidates if has_dense_signal(step) and step.brevity > 0]
    best = max(dense or candidates, key=lambda step: (step.score, step.positive_fraction))
    lengths = previewer.outcomes.correct_lengths
    quantile = float((lengths <= best.setting.target_tokens).mean())
    sentences = [
        *_choice(best, configured, bool(dense), quantile),
        *_prompts(best, candidates),
        *verdicts(configured),
    ]
    return Recommendation(best, bool(dense), tuple(sentences), tuple(candidates))


def has_dense_signal(step: FirstStep) -> bool:
    """Whether positive rewards are dense and most groups have a signal."""
    return step.positive_fraction >= DENSE_POSITIVES and step.zero_variance_fraction <= SPARSE_SIGNAL


def verdicts(step: FirstStep) -> list[str]:
    """What is wrong with the configured setting's first step, a sentence each."""
    found = []
    if step.positive_fraction < DENSE_POSITIVES:
        found.append(
            f"As configured only {_percent(step.positive_fraction)} of the rollouts would earn a positive reward (guideline 1: make "
            "them dense, with easier prompts or a larger L_T)."
        )
    if step.zero_variance_fraction > SPARSE_SIGNAL:
        found.append(
            f"As configured {_percent(step.zero_variance_fraction)} of the groups have rewards that are all equal and teach nothing."
        )
    if step.brevity <= 0:
        found.append("As configured there is no pressure on length: the first step would make responses longer or leave them.")
    elif step.skill <= 0:
        found.append(
            "As configured nothing that stays in the loss tells right from wrong at the same length: the step can only teach to be "
            "short, the 'short is correct' trap (guideline 3: do not mask the incorrect rollouts)."
        )
    return found


def _candidates(previewer: Previewer, own: PreviewSetting) -> list[PreviewSetting]:
    outcomes, config = previewer.outcomes, previewer.config
    around = SettingsAround(own, config, outcomes)
    settings: list[PreviewSetting] = []
    for subset in SUBSETS:
        selected_P = selected_prompts(outcomes, config, subset) & (outcomes.counts_P >= own.num_rollouts)
        lengths = outcomes.lengths_PN[selected_P][outcomes.correct_PN[selected_P]]
        for target in target_candidates(lengths.tolist(), CANDIDATE_QUANTILES):
            settings.append(replace(around.with_negatives("L_R=L_T", around.with_target(target)), subset=subset))
    return settings


def _choice(best: FirstStep, configured: FirstStep, is_dense: bool, quantile: float) -> list[str]:
    target = f"{best.setting.target_tokens:,}"
    reward = best.setting.reward.name
    sentences = [
        f"Recommended for the reward {reward}: {_subset(best)} with L_R = L_T = {target} tokens, which {_percent(quantile)} of "
        f"the correct rollouts keep to: {_percent(best.positive_fraction)} of the rollouts would earn a positive reward, "
        f"{_percent(best.zero_variance_fraction)} of the groups have no signal, and the length is pushed down by "
        f"{_percent(best.brevity)} per unit of update (score {best.score:.0f} ± {best.score_error:.0f})."
    ]
    if not is_dense:
        sentences.append(
            f"No candidate reaches {_percent(DENSE_POSITIVES)} positive rollouts with at most {_percent(SPARSE_SIGNAL)} groups "
            "without a signal: this model needs easier prompts, or more rollouts per prompt."
        )
    difference = best.score - configured.score
    if difference <= best.score_error:
        sentences.append(f"The configured setting (score {configured.score:.0f}) is as good within the error.")
    else:
        sentences.append(f"The configured setting has a score of {configured.score:.0f}.")
    return sentences


def _prompts(best: FirstStep, candidates: Sequence[FirstStep]) -> list[str]:
    """The other subsets at their own best target."""
    parts = []
    for subset in SUBSETS:
        own = [step for step in candidates if step.setting.subset == subset]
        if own and subset != best.setting.subset:
            step = max(own, key=lambda step: step.score)
            parts.append(
                f"{_subset(step)} at best score {step.score:.0f} (L_T {step.setting.target_tokens:,}: "
                f"{_percent(step.positive_fraction)} positive, {_percent(step.zero_variance_fraction)} without a signal)"
            )
    return [f"Instead, {'; '.join(parts)}."] if parts else []


def _subset(step: FirstStep) -> str:
    return {"easy": "easy prompts", "hard": "hard prompts", "all": "all prompts"}[step.setting.subset]


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.0f} %"
