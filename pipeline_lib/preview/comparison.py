"""A preview: the configured setting beside others, the recommendation, and what the reader must know about the rollouts."""

from dataclasses import dataclass

from pipeline_lib.config import RunConfig
from pipeline_lib.preview.first_step import FirstStep, Previewer
from pipeline_lib.preview.outcomes import ProfileOutcomes
from pipeline_lib.preview.recommendation import Recommendation, recommend
from pipeline_lib.preview.settings import Factor, PreviewSetting, Requested, compared_settings, configured_setting
from pipeline_lib.rewards import REWARDS


@dataclass(frozen=True, slots=True)
class ComparedSetting:
    """A setting's first step; `factor` is what it varies, `label` how it differs from the configured one."""

    factor: Factor
    label: str
    step: FirstStep


@dataclass(frozen=True, slots=True)
class Preview:
    """`rows` begin with the configured setting. `bucket_edges`: upper ends (tokens, inclusive) of the length buckets."""

    name: str
    profile: str
    rows: tuple[ComparedSetting, ...]
    bucket_edges: tuple[int, ...]
    recommendation: Recommendation | None
    notes: tuple[str, ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        """The recommendation with its reasons, then the notes."""
        advice = self.recommendation.sentences if self.recommendation else ("No rollout is correct: nothing to recommend.",)
        return (*advice, *self.notes)


def make_preview(config: RunConfig, outcomes: ProfileOutcomes, asked: Requested | None = None) -> Preview:
    """Compare first steps. Raises ValueError for what is asked for and not possible, or when the subset selects no prompt."""
    previewer = Previewer(outcomes, config)
    settings = compared_settings(config, outcomes, asked or Requested())
    own = settings[0][1]
    rows = tuple(
        ComparedSetting(factor, describe(setting, own, factor), previewer.first_step(setting)) for factor, setting in settings
    )
    profile = (
        f"{outcomes.num_prompts:,} prompts x {outcomes.num_rollouts} rollouts from {outcomes.origin}: "
        f"{100 * outcomes.correct_PN.sum() / outcomes.counts_P.sum():.0f} % correct, mean length {outcomes.lengths.mean():,.0f} tokens"
    )
    recommendation = recommend(previewer, rows[0].step)
    return Preview(config.name, profile, rows, previewer.edges, recommendation, _notes(config, outcomes, rows))


def configured_first_step(config: RunConfig, outcomes: ProfileOutcomes) -> FirstStep:
    """The first step of a configuration as it is. Raises NothingToPreviewError when the subset selects no prompt."""
    return Previewer(outcomes, config).first_step(configured_setting(config, outcomes))


def describe(setting: PreviewSetting, own: PreviewSetting, factor: Factor = "chosen") -> str:
    """The setting in words: in full for the configured one, otherwise only what is varied or differs."""
    in_full, follows = setting == own, setting.limit_tokens == setting.target_tokens
    target = f"L_T = L_R = {setting.target_tokens:,}" if follows else f"L_T {setting.target_tokens:,}"
    masks_differ = factor == "negatives" or setting.negative_rollouts != own.negative_rollouts
    parts = (
        (setting.reward.name != own.reward.name, f"reward {setting.reward.name}"),
        (masks_differ, f"negatives {setting.negative_rollouts}"),
        (setting.target_tokens != own.target_tokens, target),
        (setting.limit_tokens != own.limit_tokens, "" if follows else f"L_R {setting.limit_tokens:,}"),
        (setting.subset != own.subset, f"{setting.subset} prompts"),
        (setting.num_rollouts != own.num_rollouts, f"N {setting.num_rollouts}"),
    )
    return ", ".join(text for differs, text in parts if text and (in_full or differs))


def _notes(config: RunConfig, outcomes: ProfileOutcomes, rows: tuple[ComparedSetting, ...]) -> tuple[str, ...]:
    notes = []
    if config.train.num_rollouts > outcomes.num_rollouts:
        notes.append(
            f"train.num_rollouts = {config.train.num_rollouts}, but there are {outcomes.num_rollouts} rollouts per prompt: shown for "
            f"N = {outcomes.num_rollouts}. More rollouts mean fewer groups without a signal and a better score."
        )
    longest = max(row.step.setting.limit_tokens for row in rows)
    if longest > outcomes.limit_tokens:
        notes.append(
            f"L_R reaches {longest:,} tokens, but the rollouts were cut at {outcomes.limit_tokens:,}: how they would have gone on "
            "is not known, and the cut ones count as wrong."
        )
    unread = sorted({row.step.setting.reward.name for row in rows if REWARDS[row.step.setting.reward.name].reads_text})
    if unread:
        notes.append(f"{', '.join(unread)}: texts are not read here, so no rollout counts as repetitive.")
    too_few = int((outcomes.counts_P < rows[0].step.setting.num_rollouts).sum())
    if too_few:
        notes.append(f"{too_few:,} prompts have fewer than N rollouts and are left out.")
    if config.train.dynamic_sampling_batches:
        notes.append(
            "Dynamic sampling replaces the groups without a signal; shares and drifts are of the batch as first drawn."
        )
    return tuple(notes)
