"""Retraining on a schedule, and the gate that decides whether the new model replaces the champion (docs/gate.md)."""

import re
from calendar import monthrange
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
    chosen = {
        name: {value for item in part.lower().split(",") for value in _cron_values(name, item)}
        for name, part in zip(CRON_FIELDS, parts, strict=True)
    }
    # Whatever the weekday: the scheduler (croniter) fails on such a day also where a weekday is chosen beside it.
    if min(chosen["day"]) > max(map(_most_days, chosen["month"])):
        raise ValueError(f"never comes: no month of {parts[3]!r} has a day {min(chosen['day'])}")


def _cron_values(name: str, item: str) -> range:
    """The values that an item of a field stands for. Raises ValueError."""
    low, high = CRON_FIELDS[name]
    matched = re.fullmatch(r"(?:\*|(\w+)(?:-(\w+))?)(?:/([1-9]\d*))?", item)
    start, end, step = matched.groups() if matched else ("", None, None)
    bounds = [_cron_value(name, text) for text in (start, end) if text is not None]
    numbers = [value for value in bounds if value is not None and low <= value <= high]
    if len(numbers) < len(bounds) or numbers != sorted(numbers):
        allowed = f"{low}-{high}" + (f" or {CRON_NAMES[name][0]}-{CRON_NAMES[name][-1]}" if name in CRON_NAMES else "")
        raise ValueError(f"{item!r} is no {name}: allowed are *, {allowed}, lists (1,2), ranges (1-3), steps (*/5)")
    first, last = (numbers[0], numbers[-1]) if numbers else (low, high)
    return range(first, (high if step and len(numbers) == 1 else last) + 1, int(step or 1))


def _most_days(month: int) -> int:
    return monthrange(2000, month)[1]  # a leap year


def _cron_value(field: str, text: str) -> int | None:
    if text.isdigit():
        return int(text)
    names = CRON_NAMES.get(field, ())
    return names.index(text) + CRON_FIELDS[field][0] if text in names else None
