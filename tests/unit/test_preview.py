"""The first step that a preview foretells: worked out by hand for three prompts, and against plain Python."""

import csv
import io
import json
import math
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from flows.commands.previewing import check_figure, show_preview, write_figure
from pipeline_lib.config import RewardConfig, RunConfig, load_config
from pipeline_lib.guidelines.reward_shape import probe_reward
from pipeline_lib.messages.finite import NotFiniteError
from pipeline_lib.preview.comparison import configured_first_step, make_preview
from pipeline_lib.preview.first_step import FirstStep, Previewer, Signal
from pipeline_lib.preview.groups import ProfiledGroups
from pipeline_lib.preview.outcomes import NothingToPreviewError, ProfileOutcomes, outcomes_of
from pipeline_lib.preview.recommendation import has_dense_signal
from pipeline_lib.preview.settings import STRATEGIES, PreviewSetting, Requested, configured_setting
from pipeline_lib.preview.table import COLUMNS, bucket_names
from pipeline_lib.report.preview import MOST_ROWS, shown_rows
from pipeline_lib.rewards import REWARDS, Outcomes
from pipeline_lib.rewards.base import FloatArray
from pipeline_lib.rewards.truncation import TruncationReward

# L_T is 10: prompt a has two short and correct, one long and correct and one long and wrong rollout; b is hard, c never solved.
LENGTHS = [[4, 8, 12, 16], [6, 10, 14, 18], [5, 5, 9, 20]]
CORRECT = [[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
LOGPROBS = [[-0.5, -0.25, -1.0, -0.75], [-0.1, -0.2, -0.3, -0.4], [-1.5, -0.5, -0.25, -0.125]]
OVERRIDES = [
    "reward.target_tokens=10",
    "train.rollout_limit_tokens=20",
    "train.num_rollouts=4",
    "train.advantage=mean",
    "train.masked_in_baseline=true",
]


@pytest.fixture
def config(configs: Path) -> RunConfig:
    return load_config(configs / "experiments" / "base.toml", OVERRIDES)


def outcomes(lengths: list[list[int]] = LENGTHS, correct: list[list[int]] = CORRECT, **more: Any) -> ProfileOutcomes:
    rows = [
        {"lengths": one, "correct": right, "finished": [True] * len(one)} for one, right in zip(lengths, correct, strict=True)
    ]
    for name, lists in more.items():
        rows = [row | {name: values} for row, values in zip(rows, lists, strict=True)]
    return outcomes_of(rows, "a table", 20)


def setting_of(config: RunConfig, **changes: Any) -> PreviewSetting:
    return replace(configured_setting(config, outcomes()), **changes)


def step_of(config: RunConfig, rollouts: ProfileOutcomes | None = None, **changes: Any) -> FirstStep:
    return Previewer(rollouts or outcomes(), config).first_step(setting_of(config, **changes))


def test_what_the_step_sees_counted_by_hand(config: RunConfig) -> None:
    step = configured_first_step(config, outcomes())
    assert (step.num_prompts, step.num_groups, step.target_tokens) == (3, 3, 10)
    assert step.positive_fraction == 3 / 12
    assert step.zero_variance_fraction == 1 / 3
    assert step.mean_tokens == pytest.approx(127 / 12)
    assert step.truncated_fraction == 0
    assert step.masked_token_fraction == 0
    assert all(share == 0 for share in step.masked_token_fraction_by_bucket)


def test_drifts_worked_out_by_hand(config: RunConfig) -> None:
    # Advantages r - mean: a (.5, .5, -.5, -.5), b (.75, -.25, -.25, -.25), c none. A drift is the mean over the three groups of
    # sum A · y / 4: accuracy a .5 / 4, b .75 / 4; within L_T a 1 / 4, b .75 / 4; length a -8 / 4, b -6 / 4.
    step = step_of(config)
    assert step.accuracy_drift == pytest.approx((0.5 + 0.75) / 4 / 3)
    assert step.accuracy_within_target_drift == pytest.approx((1.0 + 0.75) / 4 / 3)
    assert step.length_drift == pytest.approx((-8 - 6) / 4 / 3)
    # The correct ones have 7.5 tokens on average and are 4 of 12: a -11.25 / 4, b -3.375 / 4.
    assert step.correct_length_drift == pytest.approx((-11.25 - 3.375) / 4 / 3)
    assert step.entropy_drift is None


def test_the_score_worked_out_by_hand(config: RunConfig) -> None:
    # Skill: in a, the short are all correct and the long are pushed alike, so 0; in b, the short have 0.5 between them, of which
    # the correct one would get half if the push were blind and has 0.75: 0.5 / 4. Squared noise: a 10, b 6 (sum A² L).
    step = step_of(config)
    assert step.skill == pytest.approx(0.5 / 4 / 3)
    assert step.brevity == pytest.approx(14 / 127)
    assert step.noise == pytest.approx(math.sqrt((10 + 6) / 3 / (127 / 12) / 16))
    assert step.score == pytest.approx(38.188, abs=5e-4)
    deviations = [
        0.5 * (skill / (1 / 24) + brevity / (14 / 127) - noise / (4 / 127))
        for skill, brevity, noise in (
            (0, 2 * 12 / 127, 10 * 12 / 127 / 16),
            (0.125, 1.5 * 12 / 127, 6 * 12 / 127 / 16),
            (0, 0, 0),
        )
    ]
    assert step.score_error == pytest.approx(step.score * statistics.pstdev(deviations) / math.sqrt(3))


def test_drift_of_the_entropy_is_the_covariance_with_excess_surprisal(config: RunConfig) -> None:
    surprisals = [[-mean * length for mean, length in zip(*pair, strict=True)] for pair in zip(LOGPROBS, LENGTHS, strict=True)]
    entropy = sum(map(sum, surprisals)) / 127
    pushes = [[0.5, 0.5, -0.5, -0.5], [0.75, -0.25, -0.25, -0.25], [0.0] * 4]
    expected = 0.0
    for push, surprisal, lengths in zip(pushes, surprisals, LENGTHS, strict=True):
        excess = [(one - entropy * length) / (127 / 12) for one, length in zip(surprisal, lengths, strict=True)]
        expected += sum(a * (y - statistics.mean(excess)) for a, y in zip(push, excess, strict=True)) / 4 / 3
    assert step_of(config, outcomes(logprobs=LOGPROBS)).entropy_drift == pytest.approx(expected)


def test_correlations_are_pearson_over_groups_with_a_signal(config: RunConfig) -> None:
    pushes = [0.5, 0.5, -0.5, -0.5, 0.75, -0.25, -0.25, -0.25]
    lengths = [4, 8, 12, 16, 6, 10, 14, 18]
    step = step_of(config)
    assert step.length_correlation == pytest.approx(statistics.correlation(pushes, lengths))
    assert step.length_correlation_correct == pytest.approx(statistics.correlation([0.5, 0.5, -0.5, 0.75], [4, 8, 12, 6]))
    masked = step_of(config, negative_rollouts="-L&C")
    kept = [(push, length) for push, length in zip(pushes, lengths, strict=True) if length != 12]
    assert masked.length_correlation == pytest.approx(statistics.correlation(*zip(*kept, strict=True)))


def test_masked_tokens_by_bucket_counted_by_hand() -> None:
    groups = ProfiledGroups(outcomes(), np.ones(3, dtype=bool), 4)
    cut = groups.cut(20, (3, 10, 20))
    total, by_bucket = cut.masked_tokens(groups.correct_GN)
    assert total == pytest.approx(97 / 127)
    # Without the wrong ones: 10 and 5 + 5 + 9 of 47 short tokens, 16, 14 + 18 and 20 of 80 long ones; none of at most 3.
    assert by_bucket == (None, pytest.approx(29 / 47), pytest.approx(68 / 80))
    assert bucket_names((3, 10, 20)) == ["to 3", "4–10", "11–20"]


@pytest.mark.parametrize(
    ("strategy", "masked_tokens"),
    # Of 127: -L&C takes the 12; -L&C-S&I also the short and wrong 10 + 19; -L&C-L&I 12 and the long and wrong 16 + 32 + 20.
    [("vanilla", 0), ("-I", 97), ("-L&C", 12), ("-L&C-S&I", 41), ("-L&C-L&I", 80), ("L_R=L_T", 0)],
)
def test_tokens_kept_out_by_every_strategy(config: RunConfig, strategy: Any, masked_tokens: int) -> None:
    assert step_of(config, negative_rollouts=strategy).masked_token_fraction == pytest.approx(masked_tokens / 127)


@pytest.mark.parametrize("advantage", ["grpo", "mean", "rloo", "batch_whitened"])
@pytest.mark.parametrize("strategy", ["-I", "-L&C-S&I"])
def test_no_score_where_each_side_of_the_target_keeps_only_right_or_only_wrong(
    configs: Path, strategy: Any, advantage: str
) -> None:
    config = load_config(configs / "experiments" / "base.toml", [*OVERRIDES, f"train.advantage={advantage}"])
    step = step_of(config, negative_rollouts=strategy)
    assert step.skill == 0 and step.score == 0
    assert step.brevity > 0
    assert step_of(config).score > 0


def test_sampling_stops_at_the_target(config: RunConfig) -> None:
    step = step_of(config, negative_rollouts="L_R=L_T", limit_tokens=10)
    assert step.mean_tokens == pytest.approx((32 + 36 + 29) / 12)
    assert step.truncated_fraction == pytest.approx(5 / 12)
    assert step.positive_fraction == 3 / 12
    # Rewards and advantages are those of L_R = 20, and so is what becomes of whole rollouts; only fewer tokens are noisy.
    whole = step_of(config)
    assert step.accuracy_drift == whole.accuracy_drift and step.length_drift == whole.length_drift
    assert step.noise < whole.noise


def test_correct_beyond_the_limit_counts_as_wrong(config: RunConfig) -> None:
    vanilla = config.reward.model_copy(update={"name": "vanilla"})
    assert step_of(config, reward=vanilla).positive_fraction == 4 / 12
    assert step_of(config, reward=vanilla, limit_tokens=11).positive_fraction == 3 / 12


def test_sequence_mean_pushes_a_rollout_over_its_length(configs: Path, config: RunConfig) -> None:
    setting = setting_of(config)
    averaging = load_config(configs / "experiments" / "base.toml", [*OVERRIDES, "train.loss_aggregation=sequence_mean"])
    cut = Previewer(outcomes(), config).groups("all", 4).cut(20, (20,))
    plain_GN, averaged_GN = (Signal.of(setting, cut, each.train).push_GN for each in (config, averaging))
    np.testing.assert_allclose(plain_GN, [[0.5, 0.5, -0.5, -0.5], [0.75, -0.25, -0.25, -0.25], [0] * 4])
    np.testing.assert_allclose(averaged_GN, plain_GN * (127 / 12) / np.array(LENGTHS))


def test_smaller_groups_are_consecutive_rollouts(config: RunConfig) -> None:
    step = step_of(config, num_rollouts=2)
    assert (step.num_prompts, step.num_groups) == (3, 6)
    # Only the first two of b differ in reward.
    assert step.zero_variance_fraction == 5 / 6
    # In groups of 3 the fourth rollouts are left over: 2 of a's and 1 of b's 9 are positive.
    assert step_of(config, num_rollouts=3).positive_fraction == 3 / 9


def test_prompts_with_too_few_rollouts_are_left_out_and_told(config: RunConfig) -> None:
    ragged = outcomes([*LENGTHS, [7, 9, 11], [3]], [*CORRECT, [1, 1, 0], [1]])
    assert (ragged.num_prompts, ragged.num_rollouts) == (4, 4)
    preview = make_preview(config, ragged)
    assert preview.rows[0].step.num_prompts == 3
    assert preview.rows[0].step.positive_fraction == 3 / 12
    assert "1 prompts have fewer than N rollouts and are left out." in preview.notes


def test_subsets_are_chosen_by_pass_rate(config: RunConfig) -> None:
    assert step_of(config, subset="easy").num_prompts == 1
    assert step_of(config, subset="hard").num_prompts == 2
    nothing_easy = outcomes(LENGTHS[1:], CORRECT[1:])
    with pytest.raises(NothingToPreviewError, match="filter.subset = 'easy' selects no prompt with 4 rollouts from a table"):
        Previewer(nothing_easy, config).first_step(setting_of(config, subset="easy"))


def test_a_prompt_needs_two_rollouts() -> None:
    with pytest.raises(NothingToPreviewError, match="no prompt with two rollouts"):
        outcomes([[3], [4]], [[1], [0]])


def synthetic(num_prompts: int, seed: int = 0) -> ProfileOutcomes:
    """Half easy, half next to unsolvable; longer rollouts are right a little more often."""
    generator = np.random.default_rng(seed)
    rates = np.where(np.arange(num_prompts) % 2 == 0, 0.75, 0.04)[:, None]
    lengths = np.clip(generator.lognormal(2.2, 0.4, (num_prompts, 8)), 2, 19).astype(np.int64)
    correct = generator.random((num_prompts, 8)) < rates * np.where(lengths > 9, 1.1, 0.9)
    finished = np.ones_like(correct)
    return ProfileOutcomes("made up", 20, np.full(num_prompts, 8), lengths, correct, finished)


def test_the_recommendation_is_the_best_dense_candidate(config: RunConfig) -> None:
    found = make_preview(config, synthetic(400)).recommendation
    assert found is not None and found.is_dense
    assert found.step.setting.subset == "easy"
    assert found.step.positive_fraction >= 0.25 and found.step.zero_variance_fraction <= 0.5
    assert found.step.score == max(step.score for step in found.candidates if has_dense_signal(step) and step.brevity > 0)
    assert all(step.setting.limit_tokens == step.setting.target_tokens for step in found.candidates)
    assert f"easy prompts with L_R = L_T = {found.step.setting.target_tokens} tokens" in found.sentences[0]


def test_hard_prompts_alone_are_told_to_be_too_hard(config: RunConfig) -> None:
    rollouts = synthetic(400)
    hard = outcomes(rollouts.lengths_PN[1::2].tolist(), rollouts.correct_PN[1::2].tolist())
    preview = make_preview(config, hard)
    assert preview.recommendation is not None and not preview.recommendation.is_dense
    told = " ".join(preview.sentences)
    assert "this model needs easier prompts" in told
    assert "As configured only" in told and "would earn a positive reward (guideline 1" in told


def test_nothing_correct_means_nothing_to_recommend(config: RunConfig) -> None:
    preview = make_preview(config, outcomes(correct=[[0] * 4] * 3))
    assert preview.recommendation is None
    assert preview.rows[0].step.correct_length_drift is None
    assert preview.rows[0].step.score == 0
    assert preview.sentences[0] == "No rollout is correct: nothing to recommend."


def test_the_trap_is_named(configs: Path) -> None:
    masking = load_config(configs / "experiments" / "base.toml", [*OVERRIDES, "train.negative_rollouts=-I"])
    assert "the 'short is correct' trap" in " ".join(make_preview(masking, outcomes()).sentences)


def test_a_grid_around_the_configuration_or_what_is_asked_for(config: RunConfig) -> None:
    around = make_preview(config, synthetic(40))
    assert {row.factor for row in around.rows} == {"configured", "reward", "negatives", "target", "subset", "rollouts"}
    asked = Requested(rewards=["kimi", "laser"], negatives=list(STRATEGIES), targets=[8, 10], subsets=["easy", "all"])
    rows = make_preview(config, synthetic(40), asked).rows
    assert len(rows) == 1 + 2 * len(STRATEGIES) * 2 * 2
    assert len({row.label for row in rows}) == len(rows)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Requested(rewards=["brief"]), "--reward 'brief' is not one of adaptive_target"),
        (Requested(negatives=["-C"]), "--negatives '-C' is not one of vanilla, -I"),
        (Requested(subsets=["medium"]), "--subset 'medium' is not one of easy, all, hard"),
        (Requested(targets=[21]), "--target 21 is not within 1 to train.rollout_limit_tokens = 20"),
        (Requested(nums_rollouts=[5]), "--num-rollouts 5 is not within 2 to 4, what a table has per prompt"),
    ],
)
def test_what_is_not_possible_is_named(config: RunConfig, asked: Requested, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_preview(config, outcomes(), asked)


def test_json_holds_every_number(config: RunConfig, capsys: pytest.CaptureFixture[str]) -> None:
    preview = make_preview(config, synthetic(40))
    show_preview(preview, "json", Console())
    printed = json.loads(capsys.readouterr().out)
    assert set(printed) == {"name", "profile", "length_buckets", "settings", "recommendation", "notes"}
    assert len(printed["settings"]) == len(preview.rows)
    first = printed["settings"][0]
    assert (first["factor"], first["reward"], first["target_tokens"], first["subset"]) == (
        "configured",
        "truncation",
        10,
        "all",
    )
    assert first["score"] == preview.rows[0].step.score
    assert len(first["masked_token_fraction_by_bucket"]) == len(printed["length_buckets"])
    assert printed["recommendation"]["subset"] == "easy"


def test_csv_has_a_row_a_setting(config: RunConfig, capsys: pytest.CaptureFixture[str]) -> None:
    preview = make_preview(config, synthetic(40), Requested(targets=[6, 8]))
    show_preview(preview, "csv", Console())
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["target_tokens"] for row in rows] == ["10", "6", "8"]
    assert float(rows[1]["score"]) == preview.rows[1].step.score
    assert json.loads(rows[0]["reward_parameters"]) == {}


def test_the_table_shows_settings_masks_and_advice(config: RunConfig) -> None:
    screen = io.StringIO()
    preview = make_preview(config, synthetic(40))
    show_preview(preview, "table", Console(file=screen, width=160))
    text = screen.getvalue()
    assert "► configured" in text and "negatives -L&C-S&I" in text
    assert "tokens kept out of the loss (%), by length" in text
    assert "Recommended for the reward truncation" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 120
    assert all(part in text for part in COLUMNS[-1].split())


def test_the_figure_is_a_png(config: RunConfig, tmp_path: Path) -> None:
    write_figure(make_preview(config, synthetic(40)), tmp_path / "new" / "first.png")
    assert (tmp_path / "new" / "first.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="does not end in .png"):
        check_figure(tmp_path / "first.pdf")


def test_a_long_comparison_is_drawn_with_the_configured_and_the_best(config: RunConfig) -> None:
    asked = Requested(rewards=["truncation", "kimi", "laser", "vanilla"], targets=list(range(5, 20)))
    rows = make_preview(config, synthetic(40), asked).rows
    shown = shown_rows(rows)
    assert len(rows) > MOST_ROWS == len(shown)
    assert shown[0] is rows[0]
    left_out = [row.step.score for row in rows if row not in shown]
    assert min(row.step.score for row in shown[1:]) >= max(left_out)


def test_a_hundred_settings_over_forty_thousand_prompts_take_at_most_five_seconds(configs: Path) -> None:
    config = load_config(configs / "r1-distill-1.5b.toml", [])
    generator = np.random.default_rng(0)
    lengths = np.minimum(generator.lognormal(8.3, 0.6, (40_000, 8)).astype(np.int64) + 10, 16_384)
    correct = (generator.random((40_000, 8)) < generator.random((40_000, 1))) & (lengths < 16_384)
    rollouts = ProfileOutcomes(
        "made up", 16_384, np.full(40_000, 8), lengths, correct, lengths < 16_384, -generator.random((40_000, 8))
    )
    asked = Requested(
        rewards=["truncation", "kimi", "laser", "vanilla", "cosine"],
        negatives=["vanilla", "-I", "-L&C", "-L&C-S&I", "L_R=L_T"],
        targets=[2000, 4096],
        subsets=["easy", "all"],
    )
    started = time.process_time()
    preview = make_preview(config, rollouts, asked)
    seconds = time.process_time() - started
    assert len(preview.rows) >= 100
    assert seconds <= 5.0


def test_a_reward_that_is_not_finite_is_named_with_its_prompt(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    class LogReward(TruncationReward):
        """A user's reward that takes the logarithm of the distance to the target."""

        def score(self, outcomes: Outcomes) -> FloatArray:
            with np.errstate(all="ignore"):
                return super().score(outcomes) + np.log(np.abs(outcomes.lengths_PN - self.target_tokens))  # type: ignore[no-any-return]

    monkeypatch.setitem(REWARDS, "truncation", LogReward)
    rollouts = outcomes(prompt_id=["a", "b", "c"])
    with pytest.raises(
        NotFiniteError, match=r"^reward 'truncation' is -inf for a rollout of prompt 'b' \(10 tokens, incorrect\)$"
    ):
        make_preview(config, rollouts)
    with pytest.raises(NotFiniteError, match="reward 'truncation' is -inf for a rollout of 20 tokens"):
        probe_reward(RewardConfig(name="truncation", target_tokens=20), 81)
