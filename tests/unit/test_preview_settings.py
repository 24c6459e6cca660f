"""Which settings a preview compares: their L_R, the small grid, the combinations, and which prompts a subset has."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline_lib.config import FilterConfig, RunConfig, load_config
from pipeline_lib.preview.comparison import describe, make_preview
from pipeline_lib.preview.outcomes import ProfileOutcomes, outcomes_of
from pipeline_lib.preview.settings import PreviewSetting, Requested, compared_settings, selected_prompts, target_candidates
from pipeline_lib.records import DifficultyEstimate
from pipeline_lib.selection.difficulty import select_prompts

PROFILE_LIMIT = 192


@pytest.fixture
def cut_at_target(configs: Path) -> RunConfig:
    """L_R = L_T = 64."""
    return load_config(configs / "demo.toml")


@pytest.fixture
def with_room(configs: Path) -> RunConfig:
    """L_T = 40 and L_R = 160, below the profile's limit."""
    return load_config(configs / "experiments" / "base.toml", ["train.rollout_limit_tokens=160"])


def outcomes(num_rollouts: int = 8) -> ProfileOutcomes:
    """Pass rates from 0 to 1 in eighths, correct rollouts of 10 to 170 tokens."""
    rows = [
        {
            "lengths": [10 + 20 * index for index in range(num_rollouts)],
            "correct": [index < right for index in range(num_rollouts)],
            "finished": [True] * num_rollouts,
        }
        for right in range(num_rollouts + 1)
    ]
    return outcomes_of(rows, "made up", PROFILE_LIMIT)


def asked_for(config: RunConfig, **asked: Any) -> list[PreviewSetting]:
    return [setting for _, setting in compared_settings(config, outcomes(), Requested(**asked))[1:]]


def limits(config: RunConfig, **asked: Any) -> list[tuple[int, int]]:
    return [(setting.target_tokens, setting.limit_tokens) for setting in asked_for(config, **asked)]


def test_the_limit_follows_the_target_where_the_configuration_has_them_equal(
    cut_at_target: RunConfig, with_room: RunConfig
) -> None:
    assert limits(cut_at_target, targets=[48, 100]) == [(48, 48), (100, 100)]
    assert limits(with_room, targets=[48, 100]) == [(48, 160), (100, 160)]


def test_strategies_get_the_room_above_the_target_that_they_need(cut_at_target: RunConfig, with_room: RunConfig) -> None:
    assert limits(cut_at_target, negatives=["-I", "L_R=L_T"]) == [(64, PROFILE_LIMIT), (64, 64)]
    assert limits(cut_at_target, negatives=["-I"], targets=[40]) == [(40, PROFILE_LIMIT)]
    assert limits(with_room, negatives=["-I", "L_R=L_T"], targets=[48]) == [(48, 160), (48, 48)]
    # No L_R is too small for a target that sampling stops at.
    assert limits(with_room, negatives=["L_R=L_T"], targets=[180]) == [(180, 180)]


def test_a_reward_of_another_name_has_its_published_settings(configs: Path) -> None:
    config = load_config(configs / "demo.toml", ["reward.name=kimi", "reward.parameters.alpha=0.2"])
    own, laser = (setting.reward for _, setting in compared_settings(config, outcomes(), Requested(rewards=["laser"])))
    assert own.parameters["alpha"] == 0.2
    assert (laser.name, laser.parameters["alpha"], laser.target_tokens) == ("laser", 0.4, 64)


def test_the_configured_setting_is_not_repeated(cut_at_target: RunConfig) -> None:
    assert asked_for(cut_at_target, rewards=["truncation"], subsets=["easy"], targets=[64]) == []
    factors = [factor for factor, _ in compared_settings(cut_at_target, outcomes(), Requested())]
    assert factors.count("configured") == 1 and factors[0] == "configured"


def test_one_thing_is_varied_at_a_time(with_room: RunConfig) -> None:
    rows = compared_settings(with_room, outcomes(), Requested())
    own = rows[0][1]
    for factor, setting in rows[1:]:
        changed = {
            "reward": setting.reward.name != own.reward.name,
            "negatives": setting.negative_rollouts != own.negative_rollouts,
            "target": setting.target_tokens != own.target_tokens,
            "subset": setting.subset != own.subset,
            "rollouts": setting.num_rollouts != own.num_rollouts,
        }
        assert [name for name, is_changed in changed.items() if is_changed] == [factor]


def test_more_rollouts_than_profiled_are_shown_for_what_there_is(with_room: RunConfig) -> None:
    few = outcomes(num_rollouts=4)
    preview = make_preview(with_room, few)
    assert preview.rows[0].step.setting.num_rollouts == 4
    assert any(note.startswith("train.num_rollouts = 8, but there are 4 rollouts per prompt") for note in preview.notes)


def test_a_limit_beyond_the_profile_is_told(configs: Path) -> None:
    config = load_config(configs / "experiments" / "base.toml", ["train.rollout_limit_tokens=400"])
    assert any(
        "L_R reaches 400 tokens, but the rollouts were cut at 192" in note for note in make_preview(config, outcomes()).notes
    )


def test_texts_that_are_not_read_are_told(with_room: RunConfig) -> None:
    notes = make_preview(with_room, outcomes(), Requested(rewards=["laser_de", "kimi"])).notes
    assert [note for note in notes if "texts are not read" in note] == [
        "laser_de: texts are not read here, so no rollout counts as repetitive."
    ]


@pytest.mark.parametrize(
    "rule",
    [
        {"subset": "easy"},
        {"subset": "hard"},
        {"subset": "all"},
        {"subset": "band", "min_pass_rate": 0.25, "max_pass_rate": 0.75},
    ],
)
def test_subsets_are_those_of_the_filter(with_room: RunConfig, rule: dict[str, Any]) -> None:
    config = with_room.model_copy(update={"filter": FilterConfig(**rule)})
    rollouts = outcomes()
    estimates = [DifficultyEstimate("run", str(right), 8, right, right / 8, 1.0) for right in range(9)]
    expected = [selection.selected for selection in select_prompts(estimates, config.filter)]
    assert selected_prompts(rollouts, config, rule["subset"]).tolist() == expected


def test_targets_are_quantiles_and_large_ones_round() -> None:
    assert target_candidates([10, 20, 30, 40, 50], (0.25, 0.5, 0.9)) == [20, 30, 46]
    assert target_candidates([3456, 3456], (0.5,)) == [3500]
    assert target_candidates([12_345], (0.5, 0.9)) == [12_000]
    assert target_candidates([], (0.5,)) == []


def test_a_setting_is_described_by_what_differs(cut_at_target: RunConfig) -> None:
    own = compared_settings(cut_at_target, outcomes(), Requested())[0][1]
    assert describe(own, own) == "reward truncation, negatives vanilla, L_T = L_R = 64, easy prompts, N 8"
    (other,) = asked_for(cut_at_target, rewards=["kimi"], targets=[48], subsets=["all"], nums_rollouts=[4])
    assert describe(other, own) == "reward kimi, L_T = L_R = 48, all prompts, N 4"
    (masked,) = asked_for(cut_at_target, negatives=["-I"])
    assert describe(masked, own) == "negatives -I, L_R 192"


def test_settings_that_do_not_go_together_are_told(configs: Path) -> None:
    config = load_config(configs / "experiments" / "base.toml", ["train.rollout_limit_tokens=160"])
    with pytest.raises(ValueError, match="--target 161 is not within 1 to train.rollout_limit_tokens = 160"):
        compared_settings(config, outcomes(), Requested(targets=[161]))
    with pytest.raises(ValueError, match="--target -3 is not a number of tokens above 0"):
        compared_settings(config, outcomes(), Requested(targets=[-3]))


def test_ragged_profiles_use_every_whole_group(with_room: RunConfig) -> None:
    rows = [
        {"lengths": [5] * size, "correct": [index % 2 == 0 for index in range(size)], "finished": [True] * size}
        for size in (8, 7, 4, 2)
    ]
    found = outcomes_of(rows, "made up", PROFILE_LIMIT)
    assert found.lengths_PN.shape == (4, 8)
    np.testing.assert_allclose(found.pass_rates_P, [0.5, 4 / 7, 0.5, 0.5])
    groups = make_preview(with_room, found, Requested(nums_rollouts=[4])).rows[1].step
    # Two groups of the first prompt, one of the second and third; three rollouts of the second are left over, and all of the last.
    assert (groups.num_prompts, groups.num_groups) == (3, 4)
