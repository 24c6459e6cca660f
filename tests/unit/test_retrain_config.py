"""The section [retrain]: what it takes, what it refuses, and that it belongs to no run's identity."""

from pathlib import Path

import pytest

from pipeline_lib.config import RunConfig, load_config
from pipeline_lib.config.retraining import GateConfig, RetrainConfig, check_cron


@pytest.mark.parametrize(
    "schedule",
    [
        *("0 3 * * mon", "*/15 * * * *", "0 0 1,15 * *", "5 4 * jan-mar 1-5", "59 23 31 12 7", "1-9/2 * * * *"),
        *("0 3 29 2 *", "0 3 31 2,3 *", "0 0 31 */2 *"),
    ],
)
def test_schedules_that_are_taken(schedule: str) -> None:
    assert RetrainConfig(schedule=schedule).schedule == schedule


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ("0 3 * *", "five fields"),
        ("60 3 * * *", "'60' is no minute"),
        ("0 24 * * *", "'24' is no hour"),
        ("0 3 * * fun", "'fun' is no weekday"),
        ("0 3 0 * *", "'0' is no day"),
        ("*/0 * * * *", r"'\*/0' is no minute"),
        ("9-1 * * * *", "'9-1' is no minute"),
        ("@daily", "five fields"),
        ("0 3 31 2 *", "never comes: no month of '2' has a day 31"),
        ("0 3 30,31 feb mon", "no month of 'feb' has a day 30"),
        ("0 3 31 4,6,9-11/2 *", "has a day 31"),
    ],
)
def test_schedules_that_cannot_be_meant(schedule: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_cron(schedule)


def test_an_unknown_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        RetrainConfig(timezone="Berlin")


def smoke(configs: Path, *overrides: str) -> RunConfig:
    return load_config(configs / "smoke.toml", list(overrides))


def test_the_gate_judges_what_is_evaluated(configs: Path) -> None:
    assert smoke(configs, "retrain.gate.budgets_tokens=[48,96]", "retrain.prompts=new").retrain is not None
    with pytest.raises(ValueError, match=r"retrain.gate.budgets_tokens: \[64\] is not among those of evaluate"):
        smoke(configs, "retrain.gate.budgets_tokens=[48,64]")
    with pytest.raises(ValueError, match=r"retrain.gate.benchmarks: \['aime25'\] is not among"):
        smoke(configs, 'retrain.gate.benchmarks=["aime25"]')


def test_when_and_how_it_is_retrained_makes_no_other_run(configs: Path) -> None:
    plain = smoke(configs)
    assert smoke(configs, "retrain.schedule='0 3 * * *'", "retrain.gate.accuracy_margin=0.1").run_id == plain.run_id


def test_every_field_says_what_it_is() -> None:
    for model in (RetrainConfig, GateConfig):
        nameless = [name for name, field in model.model_fields.items() if not field.description]
        assert nameless in ([], ["gate"])
