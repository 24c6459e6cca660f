"""docs/rewards.md: every reward with its settings as they are, the masks as they are, and an example that runs."""

import re
import sys
from pathlib import Path

import pytest

from pipeline_lib import rewards
from pipeline_lib.config import RewardConfig
from pipeline_lib.rewards import REWARDS, make_reward
from pipeline_lib.rewards.negatives import KEPT

PAGE = (Path(__file__).parents[2] / "docs" / "rewards.md").read_text()


def table(title):
    """Rows of the first table under a heading, header and rule left out, cells stripped."""
    section = re.split(r"^##+ ", PAGE.split(f"## {title}\n", 1)[1], flags=re.MULTILINE)[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def documented_settings(cell):
    """`alpha` 0.4, `limit_tokens` absent -> {"alpha": 0.4, "limit_tokens": None}."""
    found = re.findall(r"`(\w+)` (absent|-?[\d.]*\d)", cell)
    return {key: None if value == "absent" else float(value) for key, value in found}


def test_every_reward_has_one_row():
    assert sorted(row[0].strip("`") for row in table("All of them")) == sorted(REWARDS)


@pytest.mark.parametrize("row", table("All of them"), ids=lambda row: row[0].strip("`"))
def test_a_row_gives_every_setting_and_its_default(row):
    name, formula, parameters, _, negatives = row
    assert formula and negatives
    assert documented_settings(parameters) == RewardConfig(name=name.strip("`")).parameters
    assert ("none" in parameters) == (not REWARDS[name.strip("`")].Parameters.model_fields)


@pytest.mark.parametrize("name", sorted(REWARDS))
def test_a_rewards_module_names_the_source_that_the_page_names(name):
    """The paper's own rewards and correctness alone have no number."""
    source = next(row[3] for row in table("All of them") if row[0] == f"`{name}`")
    module = sys.modules[REWARDS[name].__module__].__doc__
    for number in re.findall(r"\d{4}\.\d{5}", source):
        assert number in module


def test_the_masks_are_as_in_the_code():
    documented = {row[0].strip("`"): [cell == "kept" for cell in row[1:]] for row in table("Rollouts kept out of the loss")}
    order = [(True, True), (True, False), (False, True), (False, False)]
    assert documented == {strategy: [kept[cell] for cell in order] for strategy, kept in KEPT.items()}


def test_the_example_of_a_reward_of_ones_own_runs(monkeypatch):
    example = re.search(r"```python\n(.*?)```", PAGE.split("## One of your own", 1)[1], re.DOTALL).group(1)
    names = {"__name__": "inverse"}
    exec(compile(example, "docs/rewards.md", "exec"), names)
    monkeypatch.setitem(rewards.REWARDS, "inverse", names["InverseReward"])
    # L_T = 40: 40/20 counts as 1, 40/80 squared is a quarter; wrong earns nothing.
    config = RewardConfig(name="inverse", target_tokens=40, parameters={"power": 2.0})
    assert make_reward(config)([20, 80, 20], [True, True, False]) == [1.0, 0.25, 0.0]
    assert len([line for line in example.splitlines() if line.strip()]) <= 20
