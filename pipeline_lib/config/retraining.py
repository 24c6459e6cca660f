"""Retraining on a schedule, and the gate that decides whether the new model replaces the champion (docs/gate.md)."""

import re
from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import Field, field_validator

from pipeline_lib.section import Fraction, PositiveInt, Section

# Lowest and highest value of minute, hour, day of the month, month, day of the week.
CRON_FIELDS = {"minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 7)}
CRON_NAMES = {
    "month": ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    "weekday": ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
}
Confidence = Annotated[float, Field(ge=0.5, lt=1.0)]


class GateConfig(Section):
    """When a retrained model replaces the champion: never worse at any budget, and shorter or more accurate."""

    budgets_tokens: tuple[PositiveInt, ...] | None = Field(
        None, min_length=1, description="Token budgets that are judged, some of evaluate's; absent: all of them."
    )
    benchmarks: tuple[str, ...] | None = Field(
        None, min_length=1, description="Names of the benchmarks that are judged, some of evaluate's; absent: all of them."
    )
    accuracy_margin: Fraction = Field(
        0.02, description="Loss of accuracy (0-1) that must be ruled out at every budget: the interval's lower end stays above."
    )
    min_accuracy_gain: Fraction = Field(
        0.0, description="Gain of accuracy, mean over budgets and benchmarks, that must be sure where tokens do not fall."
    )
    token_tolerance: Fraction = Field(
        0.05, description="Rise of mean tokens, as a share, that must be ruled out where accuracy is what is gained."
    )
    min_prompts: PositiveInt = Field(
        30,
        description="Held-out prompts per benchmark below which nothing is promoted: intervals from a handful are too narrow.",
    )
    confidence: Confidence = Field(0.95, description="Of the two-sided intervals: each bound errs in half of the rest (2.5 %).")
    resamples: PositiveInt = Field(4000, description="Bootstrap resamples of the prompts.")


class RetrainConfig(Section):
    """Retraining of a registered model: when, on which prompts, and what the new version has to show."""

    schedule: str | None = Field(
        None, description="When, as cron: minute hour day month weekday, such as '0 3 * * mon'; absent: only when asked."
    )
    timezone: str = Field("UTC", description="Time zone of the schedule, such as 'Europe/Berlin'.")
    prompts: Literal["all", "new"] = Field(
        "all", description="all: the prompts of [prompts]; new: those no run of this model has profiled (tiny: another draw)."
    )
    pause_on_alarm: bool = Field(
        True, description="An alarm during training pauses the schedule (an automation of the server)."
    )
    gate: GateConfig = GateConfig()

    @field_validator("schedule")
    @classmethod
    def _cron(cls, schedule: str | None) -> str | None:
        if schedule is not None:
            check_cron(schedule)
        return schedule

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, timezone: str) -> str:
        known = available_timezones()
        if known and timezone not in known:
            raise ValueError("is no time zone: use a name such as 'UTC' or 'Europe/Berlin'")
        return timezone


def check_cron(schedule: str) -> None:
    """Raises ValueError naming the field of a cron schedule that cannot be meant; the scheduler has the last word."""
    parts = schedule.split()
    if len(parts) != len(CRON_FIELDS):
        raise ValueError(f"a schedule has the five fields {', '.join(CRON_FIELDS)}, not {len(parts)}")
    for (name, (low, high)), part in zip(CRON_FIELDS.items(), parts, strict=True):
        allowed = f"{low}-{high}" + (f" or {CRON_NAMES[name][0]}-{CRON_NAMES[name][-1]}" if name in CRON_NAMES else "")
        for item in part.lower().split(","):
            matched = re.fullmatch(r"(?:\*|(\w+)(?:-(\w+))?)(?:/([1-9]\d*))?", item)
            values = [_cron_value(name, text) for text in (matched.group(1), matched.group(2)) if text] if matched else [None]
            numbers = [value for value in values if value is not None and low <= value <= high]
            if len(numbers) < len(values) or numbers != sorted(numbers):
                raise ValueError(f"{item!r} is no {name}: allowed are *, {allowed}, lists (1,2), ranges (1-3), steps (*/5)")


def _cron_value(field: str, text: str) -> int | None:
    if text.isdigit():
        return int(text)
    names = CRON_NAMES.get(field, ())
    return names.index(text) + CRON_FIELDS[field][0] if text in names else None
