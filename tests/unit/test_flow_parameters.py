"""The parameters of flows: what a form's fields become in a configuration, and which files it offers."""

from pathlib import Path
from typing import Any

import pytest

from flows.parameters import KEYS, Changes, overrides_of
from pipeline_lib.config import load_config
from pipeline_lib.config.shipped import PROJECT, config_choices

SMOKE = PROJECT / "configs" / "smoke.toml"
VALUES: dict[str, Any] = {
    "reward": "laser",
    "target_tokens": 40,
    "rollout_limit_tokens": 96,
    "negative_rollouts": "-L&C-S&I",
    "subset": "hard",
    "steps": 3,
    "prompts_per_step": 4,
    "num_rollouts": 6,
    "staleness": 2,
    "learning_rate": 2e-5,
    "control": True,
    "seed": 11,
}


def test_every_change_reaches_its_key() -> None:
    assert VALUES.keys() == Changes.model_fields.keys() == KEYS.keys()
    config: Any = load_config(SMOKE, Changes(**VALUES).as_overrides()).model_dump()
    for name, value in VALUES.items():
        found = config
        for part in KEYS[name].split("."):
            found = found[part]
        assert found == value, name


def test_nothing_changed_is_the_configuration() -> None:
    assert overrides_of({}, None) == []
    assert load_config(SMOKE, overrides_of(Changes(), [])).run_id == load_config(SMOKE).run_id


def test_free_overrides_win_over_the_form() -> None:
    config = load_config(SMOKE, overrides_of(Changes(steps=3), ["train.steps=5"]))
    assert config.train.steps == 5


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"num_rollouts": 1}, {"subset": "some"}, {"stepz": 3}])
def test_what_does_not_fit_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        overrides_of(wrong, None)


def test_the_choices_are_run_configurations_and_the_user_s_own(home: Path) -> None:
    own = home / "configs" / "mine.toml"
    own.parent.mkdir(parents=True)
    own.write_text(SMOKE.read_text() + "\n[retrain]\n")
    (home / "configs" / "broken.toml").write_text("name = ")
    choices = config_choices()
    assert "configs/smoke.toml" in choices
    assert "configs/warmup.toml" not in choices
    assert str(own) in choices
    assert not [choice for choice in choices if "broken" in choice]
    assert str(own) in config_choices(with_section="retrain")
    assert "configs/smoke.toml" not in config_choices(with_section="retrain")
    for choice in choices:
        load_config(PROJECT / choice)
